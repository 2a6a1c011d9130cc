/** An auth module for the harness: whatever store a file names when the bot starts. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { useMultiFileAuthState } from 'baileys';
import type { Auth } from '../../examples/support/bot.mjs';

const vault: typeof import('../../lib/index.js', { with: { 'resolution-mode': 'require' }}) = createRequire(
  import.meta.url,
)('../../dist/index.js');

/** Where the bot's session is now. */
export type Home =
  | { kind: 'files'; folder: string }
  | { kind: 'folder'; folder: string; masterKey: string }
  | { kind: 'redis'; redisUrl: string; sessionId: string; masterKey: string }
  | {
      kind: 'hybrid';
      redisUrl: string;
      mongoUrl: string;
      database: string;
      sessionId: string;
      masterKey: string;
    };

/** Baileys' own function has no end: what it is still writing when its process ends is torn. */
async function openFiles(folder: string): Promise<Auth> {
  const { state, saveCreds } = await useMultiFileAuthState(folder);
  const { keys } = state;
  const writes = new Set<Promise<void>>();
  const set: typeof keys.set = async (data) => {
    const write = Promise.resolve(keys.set(data));
    writes.add(write);
    await write.finally(() => writes.delete(write));
  };
  const close = async () => void (await Promise.allSettled(writes));
  return { state: { ...state, keys: { ...keys, set } }, saveCreds, close };
}

export default async function openHome({ file }: { file: string }): Promise<Auth> {
  const home = JSON.parse(readFileSync(file, 'utf8')) as Home;
  if (home.kind === 'files') {
    return await openFiles(home.folder);
  }
  const { masterKey } = home;
  const open = async () => {
    switch (home.kind) {
      case 'folder':
        return await vault.useMultiFileAuthState(home.folder, { masterKey });
      case 'redis': {
        const { redisUrl, sessionId } = home;
        return await vault.useRedisAuthState({ sessionId, masterKey, redis: { redisUrl } });
      }
      case 'hybrid': {
        const { redisUrl, mongoUrl, database, sessionId } = home;
        return await vault.useHybridAuthState({
          sessionId,
          masterKey,
          hybrid: { redisUrl, mongoUrl, mongoDatabase: database, enableWriteBehind: true },
        });
      }
    }
  };
  const { state, saveCreds, store } = await open();
  return { state, saveCreds, close: () => store.close() };
}
