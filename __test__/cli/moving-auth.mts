/** An auth module for the harness: whatever store a file names when the bot starts. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { BufferJSON, initAuthCreds, proto, type SignalDataSet, useMultiFileAuthState } from 'baileys';
import { Redis } from 'ioredis';
import type { Auth } from '../../examples/support/bot.mjs';
import { type Options as LuoarchOptions, useLuoarch } from './foreign/luoarch.mjs';

const vault: typeof import('../../lib/index.js', { with: { 'resolution-mode': 'require' }}) = createRequire(
  import.meta.url,
)('../../dist/index.js');

/** Where the bot's session is now. */
export type Home =
  | { kind: 'files'; folder: string }
  /** A key of Redis for each record, as `useRedisAuthState` of `baileys-redis-auth` has them. */
  | { kind: 'rows'; redisUrl: string; sessionId: string }
  /** The real package, which was fetched into a folder. */
  | ({ kind: 'luoarch'; folder: string; sessionId: string } & LuoarchOptions)
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

async function openRows(redisUrl: string, sessionId: string): Promise<Auth> {
  const redis = new Redis(redisUrl);
  const keyOf = (type: string, id: string) =>
    `${sessionId}:${type}-${id.replaceAll('/', '__').replaceAll(':', '-')}`;
  const read = async (key: string): Promise<unknown> => {
    const text = await redis.get(key);
    return text === null ? undefined : JSON.parse(text, BufferJSON.reviver);
  };
  const text = (value: unknown): string => JSON.stringify(value, BufferJSON.replacer);
  const credsKey = `${sessionId}:creds`;
  const creds = ((await read(credsKey)) as ReturnType<typeof initAuthCreds>) ?? initAuthCreds();
  const keys: Auth['state']['keys'] = {
    async get(type, ids) {
      const found: Record<string, unknown> = {};
      for (const id of ids) {
        const value = await read(keyOf(type, id));
        found[id] =
          type === 'app-state-sync-key' && value
            ? proto.Message.AppStateSyncKeyData.fromObject(value as object)
            : value;
      }
      return found as never;
    },
    async set(data: SignalDataSet) {
      const pipeline = redis.multi();
      for (const [type, records] of Object.entries(data)) {
        for (const [id, value] of Object.entries(records ?? {})) {
          if (value) {
            pipeline.set(keyOf(type, id), text(value));
          } else {
            pipeline.del(keyOf(type, id));
          }
        }
      }
      await pipeline.exec();
    },
  };
  const saveCreds = async () => void (await redis.set(credsKey, text(creds)));
  return { state: { creds, keys }, saveCreds, close: async () => void (await redis.quit()) };
}

/** It reads the whole session, changes it and writes it back, so that two writes at a time would lose one. */
async function openLuoarch(home: Extract<Home, { kind: 'luoarch' }>): Promise<Auth> {
  const { state, saveCreds, store } = await useLuoarch(home.folder, home);
  const { creds, keys } = state as unknown as Auth['state'];
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T,>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  };
  // Its Redis store reads nothing of a session before it has both creds and keys, and makes a new identity instead.
  await inTurn(saveCreds);
  await inTurn(async () => await keys.set({}));
  return {
    state: { creds, keys: { ...keys, set: (data) => inTurn(async () => await keys.set(data)) } },
    saveCreds: () => inTurn(saveCreds),
    close: async () => {
      await last;
      await store.disconnect();
    },
  };
}

export default async function openHome({ file }: { file: string }): Promise<Auth> {
  const home = JSON.parse(readFileSync(file, 'utf8')) as Home;
  if (home.kind === 'files') {
    return await openFiles(home.folder);
  }
  if (home.kind === 'rows') {
    return await openRows(home.redisUrl, home.sessionId);
  }
  if (home.kind === 'luoarch') {
    return await openLuoarch(home);
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
