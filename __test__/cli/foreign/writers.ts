/**
 * Sessions as other libraries write them. Each is written anew from what the library does, where it is in no package
 * registry: `baileys-redis-auth` is not in every one, `baileys-api` is a program, and Baileys' store in SQLite is not released.
 */
import { Redis } from 'ioredis';
import { openSqlite } from '../../support/sqlite.js';
import { type MadeSession, realBaileys } from '../support.js';

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
