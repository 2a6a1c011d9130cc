import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { DEFAULT_SECURITY_CONFIG, DEFAULT_TTL_CONFIG } from '../../../lib/compat/defaults.js';
import { resolveFolder, resolveServerless } from '../../../lib/options/embedded.js';
import { resolveMongoHook, resolveRedisHook } from '../../../lib/options/servers.js';
import { folder, hybrid, KEY, MONGO, mongo, OTHER_KEY, REDIS, redis, refused } from './resolve.js';

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
    [
      'a command for a shell',
      'security.masterKeyCommand',
      /an array of a program and its arguments, got a string/,
      () => folder({ security: { masterKeyCommand: 'pass show key' } }),
    ],
    [
      'a command without a program',
      'security.masterKeyCommand',
      /an array of a program and its arguments/,
      () => folder({ security: { masterKeyCommand: [] } }),
    ],
    [
      'a command that is not set',
      'security.masterKeyCommand',
      /named but empty/,
      () => folder({ security: { masterKeyCommand: undefined } }),
    ],
    [
      'a command whose program is not set',
      'security.masterKeyCommand',
      /an array of a program and its arguments/,
      () => folder({ security: { masterKeyCommand: [undefined, 'key'] } }),
    ],
    [
      'a command for older keys that is not set',
      'security.previousMasterKeysCommand',
      /named but empty/,
      () => folder({ masterKey: KEY, security: { previousMasterKeysCommand: '' } }),
    ],
    [
      'a key and a command',
      'security.masterKeyCommand',
      /beside masterKey/,
      () => folder({ masterKey: KEY, security: { masterKeyCommand: ['pass'] } }),
    ],
    [
      'a function and a command',
      'security.masterKeyCommand',
      /beside masterKey/,
      () => folder({ masterKey: () => KEY, security: { masterKeyCommand: ['pass'] } }),
    ],
    [
      'older keys from a function, and no key',
      'masterKey',
      /is required with previousMasterKeys/,
      () => folder({ previousMasterKeys: () => [OTHER_KEY] }),
    ],
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
    [
      'replicas that are no number',
      'redis.waitReplicas',
      /\{count, timeout\}, got 1/,
      () => redis({}, { waitReplicas: 1 }),
    ],
    [
      'replicas without a count',
      'redis.waitReplicas.count',
      /1 to 100 \(replicas\), got undefined/,
      () => redis({}, { waitReplicas: { timeout: 5 } }),
    ],
    [
      'no replica',
      'hybrid.redisWaitReplicas.count',
      /1 to 100 \(replicas\), got 0/,
      () => hybrid({ redisWaitReplicas: { count: 0 } }),
    ],
    [
      'replicas that are waited for without end',
      'redis.waitReplicas.timeout',
      /1 to 60000 \(milliseconds\), got 0/,
      () => redis({}, { waitReplicas: { count: 1, timeout: 0 } }),
    ],
    [
      'an unknown option of replicas',
      'redis.waitReplicas.min',
      /known here: count, timeout/,
      () => redis({}, { waitReplicas: { min: 1 } }),
    ],
    ['a negative fencing token', 'fencingToken', /whole number from 0/, () => redis({ fencingToken: -1 })],
    ['no section', 'redis', /an object/, () => resolveRedisHook({ sessionId: 's' })],
    ['no section', 'mongodb', /an object/, () => resolveMongoHook({ sessionId: 's' })],
    ['a URL of something else', 'redis.redisUrl', /redis:\/\//, () => redis({}, { redisUrl: MONGO })],
    ['a URL and a host', 'redis.host', /together with redis.redisUrl/, () => redis({}, { host: 'h' })],
    [
      'a port out of range',
      'redis.port',
      /1 to 65535/,
      () => resolveRedisHook({ sessionId: 's', redis: { port: 70_000 } }),
    ],
    [
      'a MongoDB URL of something else',
      'mongodb.mongoUrl',
      /mongodb:\/\//,
      () => mongo({}, { mongoUrl: REDIS }),
    ],
    ['no MongoDB URL', 'hybrid.mongoUrl', /mongodb:\/\//, () => hybrid({ mongoUrl: undefined })],
    ['an empty MongoDB URL', 'hybrid.mongoUrl', /named but empty/, () => hybrid({ mongoUrl: '' })],
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
    ['an outbox without room', 'hybrid.outboxLimit', /from 1 to/, () => hybrid({ outboxLimit: 0 })],
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
