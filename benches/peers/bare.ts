/** The commands without a store around them: nothing is encoded, so what is measured is the way to Redis and back. */
import type { Redis } from 'ioredis';
import type { KeyStore, Patch } from '../support/packages.js';

/** About as many bytes as the vault stores for a session record. */
const BYTES = Buffer.alloc(1_100, 7);

export function bare(redis: Redis, sessionId: string): KeyStore {
  const hash = `bare:${sessionId}`;
  return {
    get: (type: string, ids: string[]) =>
      redis.hmgetBuffer(hash, ...ids.map((id) => `${type}:${id}`)) as never,
    set: async (data: Patch) => {
      for (const [type, records] of Object.entries(data)) {
        await redis.hset(hash, ...Object.keys(records ?? {}).flatMap((id) => [`${type}:${id}`, BYTES]));
      }
    },
  };
}
