import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { CryptoService, createCryptoService } from '../../lib/compat/crypto.js';
import { createHybridConfigFromPreset } from '../../lib/compat/presets.js';
import { createCodecService, servicesOf } from '../../lib/compat/services.js';
import { ConfigError } from '../../lib/errors.js';
import {
  DEFAULT_OBSERVABILITY_CONFIG,
  DEFAULT_RESILIENCE_CONFIG,
  DEFAULT_SECURITY_CONFIG,
  DEFAULT_TTL_CONFIG,
} from '../../lib/options/defaults.js';
import { resolveFolder, resolveServerless } from '../../lib/options/embedded.js';
import {
  resolveHybridHook,
  resolveMongoHook,
  resolveRedisHook,
  resolveRedisStore,
} from '../../lib/options/servers.js';
import type {
  UseHybridAuthStateOptions,
  UseMongoAuthStateOptions,
  UseMultiFileAuthStateOptions,
  UseRedisAuthStateOptions,
} from '../../lib/options/types.js';

const KEY = '0123456789abcdef'.repeat(4);
const OTHER_KEY = 'f'.repeat(64);
const REDIS = 'redis://localhost:6379';
const MONGO = 'mongodb://localhost:27017';

const redis = (options: object = {}, section: object = {}) =>
  resolveRedisHook({ sessionId: 's', redis: { redisUrl: REDIS, ...section }, ...options });
const mongo = (options: object = {}, section: object = {}) =>
  resolveMongoHook({ sessionId: 's', mongodb: { mongoUrl: MONGO, ...section }, ...options });
const hybrid = (section: object = {}, options: object = {}) =>
  resolveHybridHook({ sessionId: 's', hybrid: { redisUrl: REDIS, mongoUrl: MONGO, ...section }, ...options });
const folder = (options: object = {}) => resolveFolder('./somewhere', options);

/** The ConfigError that `work` throws. */
function refused(work: () => unknown): ConfigError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof ConfigError, inspect(error));
    assert.equal(error.code, 'CONFIG_INVALID');
    assert.equal(error.retryable, false);
    return error;
  }
  assert.fail('expected a ConfigError');
}

describe('refused options', () => {
  const table: [name: string, field: string, expected: RegExp, work: () => unknown][] = [
    [
      'an unknown option',
      'masterkey',
      /unknown option; known here: masterKey/,
      () => folder({ masterkey: KEY }),
    ],
    ['an unknown option of a section', 'hybrid.redisURL', /unknown/, () => hybrid({ redisURL: REDIS })],
    ['an unknown option two deep', 'hybrid.ttl.locktTtl', /lockTtl/, () => hybrid({ ttl: { locktTtl: 5 } })],
    ['options that are no object', 'options', /an object, got a string/, () => folder('x' as never)],
    [
      'a folder that is no path',
      'folder',
      /path of a folder, got an empty string/,
      () => resolveFolder('', {}),
    ],
    ['an empty session id', 'sessionId', /non-empty string/, () => redis({ sessionId: '' })],
    [
      'a missing session id',
      'sessionId',
      /got a undefined|got undefined/,
      () => redis({ sessionId: undefined }),
    ],
    ['a negative fencing token', 'fencingToken', /whole number from 0/, () => redis({ fencingToken: -1 })],
    ['no section', 'redis', /an object/, () => resolveRedisHook({ sessionId: 's' })],
    ['no section', 'mongodb', /an object/, () => resolveMongoHook({ sessionId: 's' })],
    [
      'an empty Redis section',
      'redis.redisUrl',
      /redis:\/\//,
      () => resolveRedisHook({ sessionId: 's', redis: {} }),
    ],
    ['a URL of something else', 'redis.redisUrl', /redis:\/\//, () => redis({}, { redisUrl: MONGO })],
    ['a URL and a host', 'redis.host', /together with redis.redisUrl/, () => redis({}, { host: 'h' })],
    [
      'a port out of range',
      'redis.port',
      /1 to 65535/,
      () => redis({}, { redisUrl: undefined, port: 70_000 }),
    ],
    [
      'a MongoDB URL of something else',
      'mongodb.mongoUrl',
      /mongodb:\/\//,
      () => mongo({}, { mongoUrl: REDIS }),
    ],
    ['no MongoDB URL', 'hybrid.mongoUrl', /mongodb:\/\//, () => hybrid({ mongoUrl: undefined })],
    ['an empty MongoDB URL', 'hybrid.mongoUrl', /empty string/, () => hybrid({ mongoUrl: '' })],
    ['no Redis in hybrid', 'hybrid.redisUrl', /redis:\/\//, () => hybrid({ redisUrl: undefined })],
    [
      'two names of one database',
      'mongodb.database',
      /differs from mongodb.databaseName/,
      () => mongo({}, { databaseName: 'a', database: 'b' }),
    ],
    [
      'TLS against the URL',
      'redis.enableTls',
      /URL asks for TLS/,
      () => redis({}, { redisUrl: 'rediss://h', enableTls: false }),
    ],
    [
      'TLS against the MongoDB URL',
      'mongodb.enableTls',
      /URL says otherwise/,
      () => mongo({}, { mongoUrl: `${MONGO}/?tls=false`, enableTls: true }),
    ],
    [
      'a short master key',
      'masterKey',
      /64 hex characters or a Buffer of 32 bytes, got 4 characters/,
      () => folder({ masterKey: 'abcd' }),
    ],
    ['a master key that is not hex', 'masterKey', /64 hex/, () => folder({ masterKey: 'z'.repeat(64) })],
    ['a short key Buffer', 'masterKey', /got 31 bytes/, () => folder({ masterKey: Buffer.alloc(31) })],
    ['a numeric key', 'masterKey', /64 hex/, () => folder({ masterKey: 5 })],
    [
      'a bad previous key',
      'previousMasterKeys[1]',
      /64 hex/,
      () => folder({ masterKey: KEY, previousMasterKeys: [OTHER_KEY, 'x'] }),
    ],
    [
      'previous keys alone',
      'masterKey',
      /required with previousMasterKeys/,
      () => folder({ previousMasterKeys: [KEY] }),
    ],
    [
      'two different keys',
      'hybrid.masterKey',
      /differs from masterKey/,
      () => hybrid({ masterKey: OTHER_KEY }, { masterKey: KEY }),
    ],
    [
      'production without a key',
      'masterKey',
      /production/,
      () => folder({ security: { environment: 'production' } }),
    ],
    [
      'encryption without a key',
      'masterKey',
      /required by enableEncryption/,
      () => folder({ enableEncryption: true }),
    ],
    [
      'encryption without a key, in security',
      'masterKey',
      /required by security.enableEncryption/,
      () => folder({ security: DEFAULT_SECURITY_CONFIG }),
    ],
    [
      'encryption on and off',
      'redis.enableEncryption',
      /differs from enableEncryption/,
      () => redis({ masterKey: KEY, enableEncryption: true }, { enableEncryption: false }),
    ],
    [
      'an unknown algorithm',
      'security.encryptionAlgorithm',
      /'secretbox' or 'aes-256-gcm'/,
      () => folder({ masterKey: KEY, security: { encryptionAlgorithm: 'rot13' } }),
    ],
    [
      'lz4',
      'hybrid.security.compressionAlgorithm',
      /lz4 is not supported/,
      () => hybrid({ security: { compressionAlgorithm: 'lz4' } }),
    ],
    [
      'an environment of its own',
      'security.environment',
      /'production'/,
      () => folder({ security: { environment: 'staging' } }),
    ],
    [
      'creds that outlive keys',
      'hybrid.ttl.credsTtl',
      /expire together/,
      () => hybrid({ ttl: { ...DEFAULT_TTL_CONFIG, credsTtl: 1_000 } }),
    ],
    [
      'keys that outlive the default',
      'hybrid.ttl.keysTtl',
      /expire together/,
      () => hybrid({ ttl: { defaultTtl: 10, keysTtl: 20 } }),
    ],
    ['two TTLs', 'redis.ttl', /differs from ttl/, () => redis({ ttl: 10 }, { ttl: { defaultTtl: 20 } })],
    [
      'a lease of no time',
      'hybrid.ttl.lockTtl',
      /1 to 3600 \(seconds\), got 0/,
      () => hybrid({ ttl: { lockTtl: 0 } }),
    ],
    ['a TTL that is no number', 'ttl', /number of seconds/, () => mongo({ ttl: '10' })],
    ['a TTL of a folder', 'ttl', /unknown option/, () => folder({ ttl: 10 })],
    ['a TTL without servers', 'ttl', /needs servers/, () => resolveServerless({ sessionId: 's', ttl: 10 })],
    ['no time', 'resilience.operationTimeout', /1 to/, () => folder({ resilience: { operationTimeout: 0 } })],
    [
      'half a retry',
      'resilience.maxRetries',
      /whole number/,
      () => folder({ resilience: { maxRetries: 0.5 } }),
    ],
    [
      'shrinking delays',
      'resilience.retryMultiplier',
      /1 to 100/,
      () => folder({ resilience: { retryMultiplier: 0.5 } }),
    ],
    [
      'a breaker that never closes',
      'hybrid.resilience.breaker.errorThreshold',
      /0.01 to 1/,
      () => hybrid({ resilience: { breaker: { errorThreshold: 0 } } }),
    ],
    [
      'tracing',
      'hybrid.observability.enableTracing',
      /not supported/,
      () => hybrid({ observability: { enableTracing: true } }),
    ],
    [
      'a metrics switch that is none',
      'observability.enableMetrics',
      /true or false, got a string/,
      () => folder({ observability: { enableMetrics: 'yes' } }),
    ],
    [
      'a bound of the outbox',
      'hybrid.writeBehindQueueSize',
      /never dropped/,
      () => hybrid({ writeBehindQueueSize: 100 }),
    ],
    ['a queue that cannot add', 'hybrid.queue.add', /a function/, () => hybrid({ queue: { close() {} } })],
    ['durability of a server', 'durability', /unknown option/, () => redis({ durability: 'full' })],
    ['a third durability', 'durability', /'process' or 'full'/, () => folder({ durability: 'maybe' })],
    ['a negative wait', 'openTimeout', /whole number from 0/, () => folder({ openTimeout: -1 })],
    ['an exclusive that is none', 'exclusive', /true or false/, () => folder({ exclusive: 1 })],
    ['a callback that is none', 'onLeaseLost', /a function/, () => folder({ onLeaseLost: true })],
    ['half a byte', 'cacheBytes', /whole number/, () => folder({ cacheBytes: 0.5 })],
    ['a logger that is none', 'logger', /a logger/, () => folder({ logger: 'pino' })],
    [
      'a logger without warn',
      'logger.warn',
      /a function/,
      () => folder({ logger: { debug() {}, info() {}, error() {} } }),
    ],
    [
      'a security logger without warn',
      'security.logger.warn',
      /a function/,
      () => folder({ security: { logger: { debug() {}, info() {}, error() {} } } }),
    ],
    [
      'a folder that is no string',
      'embedded.path',
      /non-empty/,
      () => resolveServerless({ sessionId: 's', embedded: { path: 5 } }),
    ],
  ];
  for (const [name, field, expected, work] of table) {
    it(`${name} (${field})`, () => {
      const error = refused(work);
      assert.equal(error.field, field);
      assert.match(error.message, expected);
    });
  }

  it('says nothing of a secret in the wrong shape or place', () => {
    const secret = 'hunter2-hunter2-hunter2';
    const errors = [
      () => folder({ masterKey: secret }),
      () => folder({ [`master${'Key'}s`]: secret }),
      () => folder({ durability: secret }),
      () => redis({}, { redisUrl: `http://user:${secret}@host` }),
      () => redis({}, { redisUrl: `redis://user:${secret}@host`, host: 'h' }),
      () => mongo({}, { mongoUrl: `mongo://user:${secret}@host` }),
      () => hybrid({ masterKey: OTHER_KEY }, { masterKey: KEY }),
    ].map(refused);
    for (const error of errors) {
      assert.doesNotMatch(inspect(error, { depth: 9 }), /hunter2|0123456789abcdef|ffffffff/);
    }
  });
});

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

describe('crypto and codec services', () => {
  it('seal the store they are given to', async () => {
    const security = { ...DEFAULT_SECURITY_CONFIG, encryptionAlgorithm: 'aes-256-gcm' as const };
    const crypto = await createCryptoService(security, OTHER_KEY);
    await crypto.rotateKey(KEY);
    const services = servicesOf(crypto, createCodecService({ ...security, compressionAlgorithm: 'gzip' }));
    const settings = resolveRedisStore({ redisUrl: REDIS, ttl: DEFAULT_TTL_CONFIG }, services);
    assert.deepEqual(settings.config.security, {
      encryption: 'aes-256-gcm',
      compression: 'gzip',
      acceptPlain: false,
    });
    assert.deepEqual(settings.security.masterKey, Buffer.from(KEY, 'hex'));
    assert.deepEqual(settings.security.previousMasterKeys, [Buffer.from(OTHER_KEY, 'hex')]);
  });

  it('refuse to seal with nothing', async () => {
    await assert.rejects(createCryptoService(DEFAULT_SECURITY_CONFIG), { field: 'masterKey' });
    const services = servicesOf(new CryptoService(DEFAULT_SECURITY_CONFIG));
    assert.equal(refused(() => resolveRedisStore({ redisUrl: REDIS }, services)).field, 'config.masterKey');
  });

  it('round-trip values', async () => {
    const codec = createCodecService(DEFAULT_SECURITY_CONFIG);
    const value = { a: Buffer.from([1, 2]), b: [1n, null] };
    assert.deepEqual(await codec.decode(await codec.encode(value)), value);
    assert.deepEqual(codec.getStats(), { compressor: 'snappy', enabled: true });
  });
});

describe('loggers', () => {
  const record = () => {
    const calls: unknown[][] = [];
    const of = (level: string) => (a: unknown, b: unknown) => calls.push([level, a, b]);
    return { calls, logger: { debug: of('debug'), info: of('info'), warn: of('warn'), error: of('error') } };
  };

  it('of the console kind take the message first', () => {
    const { calls, logger } = record();
    folder({ logger }).log('warn', 'hello', { a: 1 });
    assert.deepEqual(calls, [['warn', 'baileys-vault: hello', { a: 1 }]]);
  });

  it('of the pino kind take the fields first', () => {
    const { calls, logger } = record();
    folder({ logger: { ...logger, child() {} } }).log('error', 'hello', { a: 1 });
    assert.deepEqual(calls, [['error', { a: 1 }, 'baileys-vault: hello']]);
  });

  it('of the structured kind take an Error between', () => {
    const calls: unknown[][] = [];
    const { logger } = record();
    const error = (a: unknown, b: unknown, c: unknown) => calls.push([a, b, c]);
    folder({ logger: { ...logger, error } }).log('error', 'hello', { a: 1 });
    assert.deepEqual(calls, [['baileys-vault: hello', undefined, { a: 1 }]]);
  });

  it('hear debug events only where asked for', () => {
    const { calls, logger } = record();
    folder({ logger }).log('debug', 'a', {});
    folder({ logger, security: { enableDebugLogging: true } }).log('debug', 'b', {});
    folder({ security: { logger }, observability: { enableDetailedLogs: true } }).log('debug', 'c', {});
    assert.deepEqual(
      calls.map(([, message]) => message),
      ['baileys-vault: b', 'baileys-vault: c'],
    );
  });

  it('may throw without harm', () => {
    const thrower = () => {
      throw new Error('disk full');
    };
    const logger = { debug: thrower, info: thrower, warn: thrower, error: thrower };
    assert.doesNotThrow(() => folder({ logger }).log('warn', 'hello', {}));
  });
});

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
