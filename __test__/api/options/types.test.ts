import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ConfigError } from '../../../lib/errors.js';
import { resolveMongoHook, resolveRedisHook } from '../../../lib/options/servers.js';
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
    const asked = {
      masterKey: async () => KEY,
      previousMasterKeys: () => [Buffer.alloc(32)],
      security: { keyRotationDays: 90 },
    } satisfies UseMultiFileAuthStateOptions;
    assert.notEqual(folder(asked).security.masterKeySource, null);
    // @ts-expect-error a command as a text
    const text = { security: { masterKeyCommand: 'pass' } } satisfies UseMultiFileAuthStateOptions;
    assert.throws(() => folder(text), ConfigError);
    // @ts-expect-error no session id
    const noSession = { redis: { redisUrl: REDIS } } satisfies UseRedisAuthStateOptions;
    assert.throws(() => resolveRedisHook(noSession), ConfigError);
    // @ts-expect-error no URL
    const noUrl = { sessionId: 's', mongodb: {} } satisfies UseMongoAuthStateOptions;
    assert.throws(() => resolveMongoHook(noUrl), ConfigError);
  });

  it('take what programs have for other clients', () => {
    const pasted = {
      sessionId: 's',
      redis: { host: 'h', maxRetriesPerRequest: null, lazyConnect: true, family: 4, tls: { ca: 'x' } },
    } satisfies UseRedisAuthStateOptions;
    const mongoose = {
      sessionId: 's',
      mongodb: { mongoUrl: MONGO, dbName: 'd', user: 'u', useNewUrlParser: true, maxPoolSize: 5 },
    } satisfies UseMongoAuthStateOptions;
    const both = {
      sessionId: 's',
      masterKey: process.env.MASTER_KEY,
      hybrid: {
        mongoUrl: MONGO,
        redisMaxRetriesPerRequest: null,
        mongoAuthSource: 'admin',
        writeBehindQueueSize: 1,
      },
    } satisfies UseHybridAuthStateOptions;
    assert.deepEqual([pasted.sessionId, mongoose.sessionId, both.sessionId], ['s', 's', 's']);
    assert.equal(resolveMongoHook(mongoose).config.backend, 'mongodb');
  });
});
