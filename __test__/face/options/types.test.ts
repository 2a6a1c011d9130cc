import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError } from '../../../lib/errors.js';
import { resolveHybridHook, resolveMongoHook, resolveRedisHook } from '../../../lib/options/servers.js';
import type {
  UseHybridAuthStateOptions,
  UseMongoAuthStateOptions,
  UseMultiFileAuthStateOptions,
  UseRedisAuthStateOptions,
} from '../../../lib/options/types.js';
import { folder, KEY, MONGO, REDIS } from './resolve.js';

describe('types of the options', () => {
  it('refuse what the run time refuses', () => {
    const typed = {
      // @ts-expect-error an unknown option
      unknown: { masterkey: KEY } satisfies UseMultiFileAuthStateOptions,
      // @ts-expect-error lz4
      lz4: { security: { compressionAlgorithm: 'lz4' } } satisfies UseMultiFileAuthStateOptions,
      // @ts-expect-error a third durability
      durability: { durability: 'maybe' } satisfies UseMultiFileAuthStateOptions,
      // @ts-expect-error a TTL of a folder
      ttl: { ttl: 10 } satisfies UseMultiFileAuthStateOptions,
    };
    for (const options of Object.values(typed)) {
      assert.throws(() => folder(options), ConfigError);
    }
    // @ts-expect-error no session id
    const noSession = { redis: { redisUrl: REDIS } } satisfies UseRedisAuthStateOptions;
    assert.throws(() => resolveRedisHook(noSession), ConfigError);
    // @ts-expect-error no URL
    const noUrl = { sessionId: 's', mongodb: {} } satisfies UseMongoAuthStateOptions;
    assert.throws(() => resolveMongoHook(noUrl), ConfigError);
    const bounded = {
      sessionId: 's',
      // @ts-expect-error a bound of the outbox
      hybrid: { mongoUrl: MONGO, redisUrl: REDIS, writeBehindQueueSize: 1 },
    } satisfies UseHybridAuthStateOptions;
    assert.throws(() => resolveHybridHook(bounded), ConfigError);
  });
});
