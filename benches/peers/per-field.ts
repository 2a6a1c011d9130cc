/**
 * What `baileys-redis-auth` (`useRedisAuthStateWithHSet`) does, written anew because not every registry has it: a
 * connection and a Redis hash for each session, one field per record, JSON with BufferJSON, a pipeline of `HSET`s for
 * each `set` and an `HGET` for each id.
 */
import type { Redis } from 'ioredis';
import type { Baileys, KeyStore, Patch } from '../support/packages.js';
import { connectRedis } from '../support/servers.js';

export const PER_FIELD = 'per-field store';

const hashOf = (sessionId: string): string => `per-field:${sessionId}`;

export function perField(redis: Redis, { BufferJSON }: Baileys, sessionId: string): KeyStore {
  const hash = hashOf(sessionId);
  return {
    get: async (type: string, ids: string[]) => {
      const found: Record<string, unknown> = {};
      await Promise.all(
        ids.map(async (id) => {
          const text = await redis.hget(hash, `${type}-${id}`);
          found[id] = text === null ? null : JSON.parse(text, BufferJSON.reviver);
        }),
      );
      return found;
    },
    set: async (data: Patch) => {
      const pipeline = redis.pipeline();
      for (const [type, records] of Object.entries(data)) {
        for (const [id, value] of Object.entries(records ?? {})) {
          const field = `${type}-${id}`;
          if (value) {
            pipeline.hset(hash, field, JSON.stringify(value, BufferJSON.replacer));
          } else {
            pipeline.hdel(hash, field);
          }
        }
      }
      await pipeline.exec();
    },
  };
}

/** A session as a program opens it: with a connection of its own, and creds that are made when there are none. */
export async function openPerField(url: string, baileys: Baileys, sessionId: string) {
  const { BufferJSON, initAuthCreds } = baileys;
  const redis = await connectRedis(url);
  const text = await redis.hget(hashOf(sessionId), 'creds');
  const creds = text === null ? initAuthCreds() : JSON.parse(text, BufferJSON.reviver);
  return {
    keys: perField(redis, baileys, sessionId),
    saveCreds: () => redis.hset(hashOf(sessionId), 'creds', JSON.stringify(creds, BufferJSON.replacer)),
    close: async () => redis.disconnect(),
  };
}
