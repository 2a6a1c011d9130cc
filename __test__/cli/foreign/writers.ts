/**
 * Sessions as other libraries write them. Each is written anew from what the library does, where it is in no package
 * registry: `baileys-redis-auth` is not in every one, `baileys-api` is a program, and Baileys' store in SQLite is not released.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Redis } from 'ioredis';
import { type Collection, MongoClient } from 'mongodb';
import { openSqlite } from '../../support/sqlite.js';
import { type MadeSession, ROOT, realBaileys } from '../support.js';

/** Name and JSON of each record: `creds`, and `<type>-<id>`. */
export async function textsOf(
  { creds, keys }: MadeSession,
  nameOf: (id: string) => string = (id) => id,
): Promise<[name: string, json: string][]> {
  const { BufferJSON } = await realBaileys();
  const text = (value: unknown): string => JSON.stringify(value, BufferJSON.replacer);
  return [
    ['creds', text(creds)],
    ...Object.entries(keys).flatMap(([type, records]) =>
      Object.entries(records).map(([id, value]): [string, string] => [`${type}-${nameOf(id)}`, text(value)]),
    ),
  ];
}

/** As the names of Baileys' own files, since `baileys-redis-auth` 1.1. */
const asFileName = (id: string): string => id.replaceAll('/', '__').replaceAll(':', '-');

async function withRedis(url: string, work: (redis: Redis) => Promise<unknown>): Promise<void> {
  const redis = new Redis(url);
  try {
    await work(redis);
  } finally {
    redis.disconnect();
  }
}

/** `useRedisAuthStateWithHSet` of baileys-redis-auth since 1.1. */
export const writeHash = (url: string, sessionId: string, session: MadeSession) =>
  withRedis(url, async (redis) =>
    redis.hset(`${sessionId}:auth`, Object.fromEntries(await textsOf(session, asFileName))),
  );

/** The same before 1.1. */
export const writeOldHash = (url: string, sessionId: string, session: MadeSession) =>
  withRedis(url, async (redis) =>
    redis.hset(`authState:${sessionId}`, Object.fromEntries(await textsOf(session))),
  );

/** `useRedisAuthState` of baileys-redis-auth; before 1.1 with `isOld`. */
export const writeKeys = (url: string, sessionId: string, session: MadeSession, isOld = false) =>
  withRedis(url, async (redis) => {
    const texts = await textsOf(session, isOld ? undefined : asFileName);
    await redis.mset(Object.fromEntries(texts.map(([name, text]) => [`${sessionId}:${name}`, text])));
  });

/** `baileys-api` of fazer-ai. */
export const writeFazer = (url: string, phone: string, session: MadeSession) =>
  withRedis(url, async (redis) =>
    redis.hset(`@baileys-api:connections:${phone}:authState`, {
      ...Object.fromEntries(await textsOf(session)),
      metadata: '{"webhookUrl":"https://example.com"}',
    }),
  );

/** `useSqliteAuthState` of a coming Baileys. */
export async function writeSqlite(file: string, session: MadeSession): Promise<void> {
  const { BufferJSON } = await realBaileys();
  const text = (value: unknown): string => JSON.stringify(value, BufferJSON.replacer);
  const db = openSqlite(file);
  db.pragma('journal_mode = WAL');
  db.exec(`
    CREATE TABLE IF NOT EXISTS creds (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS signal_keys (
      type TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (type, id)
    );
    CREATE INDEX IF NOT EXISTS signal_keys_type_idx ON signal_keys(type);
    BEGIN;
  `);
  db.prepare('INSERT OR REPLACE INTO creds VALUES (?, ?)').run('__creds__', text(session.creds));
  const insert = db.prepare('INSERT OR REPLACE INTO signal_keys VALUES (?, ?, ?)');
  for (const [type, records] of Object.entries(session.keys)) {
    for (const [id, value] of Object.entries(records)) {
      insert.run(type, id, text(value));
    }
  }
  db.exec('COMMIT');
  db.close();
}

/** Its last release. */
const MONGO_BAILEYS = 'mongo-baileys@1.0.1';

type UseMongoDBAuthState = (collection: Collection) => Promise<{
  state: { creds: Record<string, unknown>; keys: { set(data: MadeSession['keys']): Promise<void> } };
  saveCreds(): Promise<void>;
}>;

/**
 * The real package, fetched into `folder`; undefined where there is no registry. It asks for files of Baileys by their
 * paths in releases that were CommonJS: they are answered with the Baileys that the tests have.
 */
export async function loadMongoBaileys(folder: string): Promise<UseMongoDBAuthState | undefined> {
  const modules = join(folder, 'node_modules');
  const module = (name: string, text: string): void => {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    writeFileSync(join(modules, name), text);
  };
  if (!existsSync(modules)) {
    const npm = ['pack', MONGO_BAILEYS, '--prefer-offline', '--silent', '--pack-destination', folder];
    const packed = spawnSync('npm', npm, { encoding: 'utf8' });
    if (packed.status !== 0) {
      return undefined;
    }
    mkdirSync(join(modules, 'mongo-baileys'), { recursive: true });
    const file = join(folder, packed.stdout.trim());
    spawnSync('tar', ['xzf', file, '-C', join(modules, 'mongo-baileys'), '--strip-components=1']);
    for (const part of ['WAProto/index.js', 'lib/Utils/crypto.js', 'lib/Utils/generics.js']) {
      module(`@whiskeysockets/baileys/${part}`, 'module.exports = globalThis.baileysOfTheTest;');
    }
    module('uuid/index.js', "exports.v4 = () => require('node:crypto').randomUUID();");
    symlinkSync(join(ROOT, 'node_modules/mongodb'), join(modules, 'mongodb'));
  }
  (globalThis as { baileysOfTheTest?: unknown }).baileysOfTheTest = await realBaileys();
  return createRequire(join(folder, 'program.js'))('mongo-baileys').useMongoDBAuthState;
}

/** Writes a session as a bot on `mongo-baileys` does, which prints what the server refuses, and goes on. */
export async function writeMongoBaileys(
  use: UseMongoDBAuthState,
  url: string,
  database: string,
  collection: string,
  { creds, keys }: MadeSession,
): Promise<string[]> {
  const client = await MongoClient.connect(url);
  const printed: string[] = [];
  const { error } = console;
  console.error = (...words: unknown[]) => void printed.push(String(words[0]));
  try {
    const { state, saveCreds } = await use(client.db(database).collection(collection));
    Object.assign(state.creds, creds);
    await saveCreds();
    for (const [type, records] of Object.entries(keys)) {
      await state.keys.set({ [type]: records });
    }
    return printed;
  } finally {
    console.error = error;
    await client.close();
  }
}
