/** The package that this one replaces, installed from the registry into a folder of its own while it is measured. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeyStore } from '../support/packages.js';

export const REPLACED = 'baileys-store-core';
const PACKAGE = '@luoarch/baileys-store-core';
const VERSION = '1.0.0-rc.4';
const INSTALL_TIMEOUT_MS = 180_000;

interface Opened {
  state: { keys: KeyStore };
  saveCreds(): Promise<unknown>;
  store: { disconnect(): Promise<unknown> };
}

interface Package {
  useRedisAuthState(options: object): Promise<Opened>;
  createHybridConfigFromPreset(name: 'PRODUCTION', places: object): object;
  useHybridAuthState(options: object): Promise<Opened>;
}

export interface Replaced {
  /** In Redis with MongoDB behind. */
  open(sessionId: string, places: object): Promise<Opened>;
  /** In Redis alone, sealed. */
  openInRedis(sessionId: string, redisUrl: string, masterKey: string): Promise<Opened>;
  remove(): Promise<void>;
}

/** The installed package, or why it could not be installed. */
export async function installReplaced(baileysVersion: string): Promise<Replaced | string> {
  const folder = await mkdtemp(join(tmpdir(), 'vault-bench-peer-'));
  const remove = () => rm(folder, { recursive: true, force: true });
  const dependencies = {
    [PACKAGE]: VERSION,
    '@whiskeysockets/baileys': `npm:baileys@${baileysVersion}`,
    ioredis: '^5.8.2',
    mongodb: '^6.20.0',
  };
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }));
  const options = ['--legacy-peer-deps', '--ignore-scripts', '--no-audit', '--no-fund'];
  const { status, stderr, error } = spawnSync('npm', ['install', ...options], {
    cwd: folder,
    encoding: 'utf8',
    timeout: INSTALL_TIMEOUT_MS,
  });
  if (status !== 0) {
    await remove();
    return `${PACKAGE}@${VERSION} could not be installed: ${error?.message ?? stderr.trim().slice(-300)}`;
  }
  // Its CommonJS build requires Baileys, which is ESM only: the ESM build it is.
  const entry = createRequire(join(folder, 'package.json'))
    .resolve(PACKAGE)
    .replace(/\.cjs$/, '.js');
  const replaced = (await import(entry)) as Package;
  const { createHybridConfigFromPreset, useHybridAuthState, useRedisAuthState } = replaced;
  return {
    open: (sessionId, places) =>
      useHybridAuthState({ sessionId, hybrid: createHybridConfigFromPreset('PRODUCTION', places) }),
    openInRedis: (sessionId, redisUrl, masterKey) => {
      // It reports every call there, into the middle of our tables.
      console.debug = () => {};
      return useRedisAuthState({ sessionId, redis: { redisUrl }, enableEncryption: true, masterKey });
    },
    remove,
  };
}
