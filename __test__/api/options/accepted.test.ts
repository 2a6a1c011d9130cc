import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  DEFAULT_OBSERVABILITY_CONFIG,
  DEFAULT_RESILIENCE_CONFIG,
  DEFAULT_SECURITY_CONFIG,
  DEFAULT_TTL_CONFIG,
} from '../../../lib/compat/defaults.js';
import { createHybridConfigFromPreset } from '../../../lib/compat/presets.js';
import { ConfigError } from '../../../lib/errors.js';
import { resolveHybridHook, resolveRedisHook } from '../../../lib/options/servers.js';
import { folder, hybrid, KEY, MONGO, mongo, OTHER_KEY, REDIS, redis } from './resolve.js';

describe('accepted options', () => {
  it('need only the place of the data', () => {
    const { config, openTimeout, sessionId, fencingToken } = redis();
    assert.deepEqual(config, {
      backend: 'redis',
      redis: { url: REDIS, prefix: 'bv' },
      resilience: {
        operationTimeout: 5000,
        maxRetries: 3,
        retryBaseDelay: 100,
        retryMultiplier: 2,
        breaker: { errorThreshold: 0.5, window: 10_000, coolDown: 30_000 },
      },
      security: { encryption: null, compression: null, acceptPlain: false },
      ttl: null,
      lease: 5000,
      openTimeout: 10_000,
      exclusive: true,
      cacheBytes: undefined,
    });
    assert.deepEqual([openTimeout, sessionId, fencingToken], [10_000, 's', undefined]);
  });

  it('keep the key out of what is handed over as JSON', () => {
    const { config, security } = redis({ masterKey: KEY, previousMasterKeys: [OTHER_KEY] });
    assert.doesNotMatch(JSON.stringify(config), /0123456789abcdef|ffffffff/);
    assert.deepEqual(security.masterKey, Buffer.from(KEY, 'hex'));
    assert.deepEqual(security.previousMasterKeys, [Buffer.from(OTHER_KEY, 'hex')]);
  });

  it('copy a key given as bytes', () => {
    const key = Buffer.from(KEY, 'hex');
    const { security } = folder({ masterKey: key });
    key.fill(0);
    assert.deepEqual(security.masterKey, Buffer.from(KEY, 'hex'));
  });

  it('seal when there is a key, unless told not to', () => {
    const sealing = (options: object) => folder(options).config.security;
    const plain = { compression: null, acceptPlain: false };
    assert.deepEqual(sealing({ masterKey: KEY }), { ...plain, encryption: 'secretbox' });
    assert.deepEqual(sealing({ masterKey: KEY, enableEncryption: false }), { ...plain, encryption: null });
    const command = { masterKeyCommand: ['pass', 'show', 'key'] };
    for (const coming of [
      { masterKey: () => KEY },
      { security: { ...command, environment: 'production' } },
    ]) {
      assert.deepEqual(sealing(coming), { ...plain, encryption: 'secretbox' });
    }
    assert.deepEqual(sealing({ enableEncryption: false, security: { masterKeyCommand: '' } }), {
      ...plain,
      encryption: null,
    });
    assert.deepEqual(sealing({ security: { environment: 'production', enableEncryption: false } }), {
      ...plain,
      encryption: null,
    });
    assert.deepEqual(sealing({ masterKey: KEY, security: DEFAULT_SECURITY_CONFIG }), {
      encryption: 'secretbox',
      compression: 'snappy',
      acceptPlain: false,
    });
  });

  it('make a URL of host, port, password and database', () => {
    const place = (section: object) => {
      const { config } = resolveRedisHook({ sessionId: 's', redis: section });
      return config.backend === 'redis' ? config.redis.url : '';
    };
    assert.equal(place({ host: 'h' }), 'redis://h:6379/0');
    assert.equal(
      place({ port: 7000, password: 'p@ss/word', db: 3 }),
      'redis://:p%40ss%2Fword@localhost:7000/3',
    );
    assert.equal(place({ host: '::1', enableTls: true }), 'rediss://[::1]:6379/0');
    assert.equal(place({ redisUrl: 'redis://h/2', enableTls: true }), 'rediss://h/2');
    assert.equal(place({ redisUrl: 'redis+cluster://a,b' }), 'redis+cluster://a,b');
  });

  it('mean localhost where nothing says where Redis is', () => {
    const { config } = resolveRedisHook({ sessionId: 's', redis: {} });
    assert.ok(config.backend === 'redis');
    assert.equal(config.redis.url, 'redis://localhost:6379/0');
    const preset = resolveHybridHook({
      sessionId: 's',
      hybrid: createHybridConfigFromPreset('TESTING', { mongoUrl: MONGO }),
    }).config;
    assert.ok(preset.backend === 'hybrid');
    assert.equal(preset.redis.url, 'redis://localhost:6379/0');
  });

  it('make a URL of what other clients take', () => {
    const place = (section: object) => {
      const { config } = resolveRedisHook({ sessionId: 's', redis: section });
      return config.backend === 'redis' ? `${config.redis.url} ${config.redis.prefix}` : '';
    };
    const sentinels = [{ host: 'a' }, { host: '::1', port: '7' }];
    assert.equal(
      place({ sentinels, name: 'm', password: 'p', sentinelPassword: 's/', db: 2, keyPrefix: 'app:' }),
      'redis+sentinel://:p@a:26379,[::1]:7/m/2?sentinelPassword=s%2F app',
    );
    assert.equal(
      place({ path: '/run/redis.sock', username: 'u', db: 1 }),
      'redis://u@/run/redis.sock?db=1 bv',
    );
    assert.equal(place({ redisUrl: 'redis://:p@h', db: 3, tls: {} }), 'rediss://:p@h/3 bv');
    assert.equal(place({ redisUrl: 'redis-sentinel://a/m?db=2' }), 'redis+sentinel://a/m/2 bv');
    assert.equal(place({ redisUrl: 'redis://u:p@ss/w@h' }), 'redis://u:p%40ss%2Fw@h bv');
    assert.equal(place({ redisUrl: 'redis://h?ssl=true&db=4' }), 'rediss://h/4 bv');
  });

  it('let replicas of Redis confirm writes', () => {
    const wanted = (section: object) => {
      const { config } = redis({}, section);
      return config.backend === 'redis' && config.redis.waitReplicas;
    };
    assert.deepEqual(wanted({ waitReplicas: { count: 2, timeout: 300 } }), { count: 2, timeout: 300 });
    assert.deepEqual(wanted({ waitReplicas: { count: 1 } }), { count: 1, timeout: 1_000 });
    assert.equal(wanted({ waitReplicas: undefined }), undefined);
    const beside = (section: object) => {
      const { config, notices } = hybrid({ redisWaitReplicas: { count: 1 }, ...section });
      assert.ok(config.backend === 'hybrid');
      assert.deepEqual(config.redis.waitReplicas, { count: 1, timeout: 1_000 });
      return notices.join();
    };
    assert.equal(beside({ enableWriteBehind: true }), '');
    assert.equal(beside({ outboxWhenMongoDown: true }), '');
    assert.match(beside({}), /redisWaitReplicas .*primary acknowledges/);
  });

  it('pass an outbox that MongoDB alone cannot see only when told to', () => {
    const passes = (section: object) => {
      const { config } = mongo({}, { mongoUrl: MONGO, ...section });
      return config.backend === 'mongodb' && config.mongodb.acceptLostOutbox;
    };
    assert.equal(passes({ acceptLostOutbox: true }), true);
    assert.equal(passes({ acceptLostOutbox: false }), undefined);
    assert.equal(passes({}), undefined);
  });

  it('take the database of MongoDB from the option, else the URL, else the default', () => {
    const place = (section: object) => {
      const { config } = mongo({}, section);
      return config.backend === 'mongodb' ? config.mongodb.database : '';
    };
    assert.equal(place({ mongoUrl: 'mongodb://h/of%20url?w=1' }), 'of url');
    assert.equal(place({ mongoUrl: 'mongodb+srv://h/of-url', database: 'option' }), 'option');
    assert.equal(place({ mongoUrl: 'mongodb://h/' }), 'baileys_vault');
    const both = hybrid({ mongoUrl: 'mongodb://a,b/of-url' }).config;
    assert.ok(both.backend === 'hybrid');
    assert.equal(both.mongodb?.database, 'of-url');
  });

  it('put what MongoDB’s driver reads into its URL', () => {
    const { config } = mongo(
      {},
      {
        mongoUrl: 'mongodb://h/d?useNewUrlParser=true&w=1',
        user: 'u',
        pass: 'p@',
        authSource: 'admin',
        tls: true,
      },
    );
    assert.ok(config.backend === 'mongodb');
    assert.equal(config.mongodb.url, 'mongodb://u:p%40@h/d?w=1&authSource=admin&tls=true');
  });

  it('ask MongoDB for TLS', () => {
    const place = (mongoUrl: string, enableTls?: boolean) => {
      const { config } = mongo({ enableTls }, { mongoUrl });
      return config.backend === 'mongodb' ? config.mongodb.url : '';
    };
    assert.equal(place('mongodb://h', true), 'mongodb://h/?tls=true');
    assert.equal(place('mongodb://h/db?w=1', true), 'mongodb://h/db?w=1&tls=true');
    assert.equal(place('mongodb://h/?ssl=true', true), 'mongodb://h/?ssl=true');
    assert.equal(place('mongodb://h', false), 'mongodb://h');
    assert.equal(place('mongodb+srv://h', false), 'mongodb+srv://h/?tls=false');
  });

  it('take one TTL and a lease', () => {
    const times = (ttl: unknown) => {
      const { config } = hybrid({ ttl });
      return [config.ttl, config.lease];
    };
    assert.deepEqual(times(DEFAULT_TTL_CONFIG), [86_400, 5000]);
    assert.deepEqual(times({ defaultTtl: 60 }), [60, 5000]);
    assert.deepEqual(times({ defaultTtl: 3600, credsTtl: 7200, keysTtl: 7200, lockTtl: 1 }), [7200, 1000]);
    assert.deepEqual(times({ credsTtl: 7200 }), [7200, 5000]);
    assert.deepEqual(times(90), [90, 5000]);
    assert.deepEqual(redis({ ttl: 90 }, { ttl: { lockTtl: 2 } }).config.lease, 2000);
  });

  it('take every option of the replaced package', () => {
    const queue = { add: async () => {}, close: async () => {} };
    const settings = hybrid({
      redisUrl: undefined,
      redisHost: 'r',
      redisPort: 7000,
      mongoDatabase: 'd',
      mongoCollection: 'c',
      ttl: DEFAULT_TTL_CONFIG,
      resilience: DEFAULT_RESILIENCE_CONFIG,
      observability: DEFAULT_OBSERVABILITY_CONFIG,
      security: DEFAULT_SECURITY_CONFIG,
      masterKey: KEY,
      queue,
      enableWriteBehind: true,
      writeBehindFlushInterval: 100,
      writeBehindQueueSize: 1000,
      logger: console,
    });
    assert.equal(settings.queue, queue);
    const { config } = settings;
    assert.ok(config.backend === 'hybrid');
    assert.deepEqual(config.redis, { url: 'redis://r:7000/0', prefix: 'bv' });
    assert.deepEqual(config.mongodb, { url: MONGO, database: 'd', collection: 'c' });
    assert.deepEqual(config.hybrid, {
      writeBehind: true,
      outboxWhenMongoDown: false,
      acceptLostOutbox: false,
      outboxLimit: 268_435_456,
      queue: true,
    });
  });

  it('take each preset', () => {
    for (const name of ['DEVELOPMENT', 'PRODUCTION', 'TESTING'] as const) {
      const config = createHybridConfigFromPreset(name, { mongoUrl: MONGO, redisUrl: REDIS, masterKey: KEY });
      assert.equal(hybrid(config).config.backend, 'hybrid');
    }
    assert.throws(() => hybrid(createHybridConfigFromPreset('PRODUCTION', { mongoUrl: MONGO })), ConfigError);
  });
});
