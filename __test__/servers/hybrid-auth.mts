/** An auth module for the harness: the hybrid store of the built package, write-behind and sealed. */
import { createRequire } from 'node:module';
import type { Auth } from '../../examples/support/bot.mjs';

const { useHybridAuthState }: typeof import('../../lib/index.js', { with: { 'resolution-mode': 'require' }}) =
  createRequire(import.meta.url)('../../dist/index.js');

export interface HybridAuthOptions {
  redisUrl: string;
  mongoUrl: string;
}

export default async function openHybrid({ redisUrl, mongoUrl }: HybridAuthOptions): Promise<Auth> {
  const { state, saveCreds, store } = await useHybridAuthState({
    sessionId: 'bot',
    masterKey: 'feedc0de'.repeat(8),
    hybrid: { redisUrl, mongoUrl, mongoDatabase: 'exchange', enableWriteBehind: true },
  });
  return { state, saveCreds, close: () => store.close() };
}
