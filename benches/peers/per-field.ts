/** A store as several packages have it: one Redis hash per session, one field per record, JSON with BufferJSON. */
import type { Redis } from 'ioredis';
import type { Baileys, KeyStore, Patch } from '../support/packages.js';

export function perField(redis: Redis, { BufferJSON }: Baileys, sessionId: string): KeyStore {
  const key = `per-field:${sessionId}`;
  return {
    get: async (type: string, ids: string[]) => {
      const texts = await redis.hmget(key, ...ids.map((id) => `${type}:${id}`));
      const found: Record<string, unknown> = {};
      for (const [index, text] of texts.entries()) {
        if (typeof text === 'string') {
          found[ids[index] as string] = JSON.parse(text, BufferJSON.reviver);
        }
      }
      return found;
    },
    set: async (data: Patch) => {
      const fields: string[] = [];
      const gone: string[] = [];
      for (const [type, records] of Object.entries(data)) {
        for (const [id, value] of Object.entries(records ?? {})) {
          const name = `${type}:${id}`;
          if (value === null || value === undefined) {
            gone.push(name);
          } else {
            fields.push(name, JSON.stringify(value, BufferJSON.replacer));
          }
        }
      }
      if (fields.length > 0) {
        await redis.hset(key, ...fields);
      }
      if (gone.length > 0) {
        await redis.hdel(key, ...gone);
      }
    },
  };
}
