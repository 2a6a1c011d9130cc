/** A program whose environment variables are not set must be told so, and must not begin elsewhere or unsealed. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { makeFolder, runNode } from './support.js';

const ROOT = join(__dirname, '..', '..');
const KEY = '0123456789abcdef'.repeat(4);

/** By the option that must be named, the call; `e` is the empty environment, `none` a variable that is not set. */
const REFUSED: readonly [field: string, call: string][] = [
  ['masterKey', `vault.useMultiFileAuthState(FOLDER, { masterKey: e.MASTER_KEY })`],
  ['masterKey', `vault.useMultiFileAuthState(FOLDER, { masterKey: '' })`],
  ['masterKey', `vault.useMultiFileAuthState(FOLDER, { masterKey: null })`],
  [
    'masterKey',
    `vault.useHybridAuthState({ sessionId: 's', embedded: { path: FOLDER }, masterKey: e.MASTER_KEY })`,
  ],
  [
    'redis.masterKey',
    `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: R, masterKey: e.MASTER_KEY } })`,
  ],
  [
    'hybrid.masterKey',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: { redisUrl: R, mongoUrl: M, masterKey: e.K } })`,
  ],
  ['config.masterKey', `vault.createRedisStore({ redisUrl: R, masterKey: e.MASTER_KEY })`],
  ['masterKey', `vault.createCryptoService({}, e.MASTER_KEY)`],
  ['masterKey', `vault.createCryptoService(vault.DEFAULT_SECURITY_CONFIG, e.MASTER_KEY)`],
  [
    'previousMasterKeys[0]',
    `vault.useMultiFileAuthState(FOLDER, { masterKey: KEY, previousMasterKeys: [e.OLD_KEY] })`,
  ],
  [
    'security.masterKeyCommand',
    `vault.useMultiFileAuthState(FOLDER, { security: { masterKeyCommand: e.KEY_COMMAND } })`,
  ],
  ['masterKey', `vault.useMultiFileAuthState(FOLDER, { masterKey: () => e.MASTER_KEY })`],
  ['security.environment', `vault.useMultiFileAuthState(FOLDER, { security: { environment: e.NODE_ENV } })`],
  ['folder', `vault.useMultiFileAuthState(e.AUTH_FOLDER)`],
  [
    'hybrid',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: e.REDIS_URL && { redisUrl: e.REDIS_URL, mongoUrl: M } })`,
  ],
  ['hybrid', `vault.useHybridAuthState({ sessionId: 's', hybrid: null })`],
  [
    'hybrid',
    `vault.useHybridAuthState({ sessionId: 's', redis: { redisUrl: R }, mongodb: { mongoUrl: M } })`,
  ],
  ['embedded', `vault.useHybridAuthState({ sessionId: 's', embedded: undefined })`],
  ['embedded.path', `vault.useHybridAuthState({ sessionId: 's', embedded: { path: e.AUTH_FOLDER } })`],
  ['embedded.path', `vault.useHybridAuthState({ sessionId: 's', embedded: { path: '' } })`],
  ['sessionId', `vault.useHybridAuthState({ sessionId: e.SESSION, embedded: { path: FOLDER } })`],
  ['sessionId', `vault.useRedisAuthState({ sessionId: e.SESSION, redis: { redisUrl: R } })`],
  ['redis', `vault.useRedisAuthState({ sessionId: 's', redis: undefined })`],
  ['mongodb', `vault.useMongoAuthState({ sessionId: 's', mongodb: undefined })`],
  ['redis.redisUrl', `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: e.REDIS_URL } })`],
  ['redis.redisUrl', `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: '' } })`],
  [
    'redis.redisUrl',
    `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: e.REDIS_URL, password: 'p' } })`,
  ],
  ['redis.url', `vault.useRedisAuthState({ sessionId: 's', redis: { url: e.REDIS_URL } })`],
  ['redis.host', `vault.useRedisAuthState({ sessionId: 's', redis: { host: e.REDIS_HOST } })`],
  ['redis.host', `vault.useRedisAuthState({ sessionId: 's', redis: { host: e.REDIS_HOST, port: 6379 } })`],
  [
    'redis.port',
    `vault.useRedisAuthState({ sessionId: 's', redis: { host: 'localhost', port: e.REDIS_PORT } })`,
  ],
  [
    'redis.port',
    `vault.useRedisAuthState({ sessionId: 's', redis: { host: 'localhost', port: Number(e.REDIS_PORT) } })`,
  ],
  ['redis.db', `vault.useRedisAuthState({ sessionId: 's', redis: { host: 'localhost', db: e.REDIS_DB } })`],
  ['redis.prefix', `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: R, prefix: e.PREFIX } })`],
  [
    'redis.keyPrefix',
    `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: R, keyPrefix: e.PREFIX } })`,
  ],
  [
    'redis.tls.ca',
    `vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: R, tls: { ca: e.REDIS_CA } } })`,
  ],
  [
    'hybrid.redisUrl',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: { redisUrl: e.REDIS_URL, mongoUrl: M } })`,
  ],
  [
    'hybrid.redisHost',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: { redisHost: e.REDIS_HOST, mongoUrl: M } })`,
  ],
  [
    'hybrid.mongoUrl',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: { redisUrl: R, mongoUrl: e.MONGO_URL } })`,
  ],
  [
    'hybrid.mongoDatabase',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: { redisUrl: R, mongoUrl: M, mongoDatabase: e.DB } })`,
  ],
  ['mongodb.mongoUrl', `vault.useMongoAuthState({ sessionId: 's', mongodb: { mongoUrl: e.MONGO_URL } })`],
  [
    'mongodb.databaseName',
    `vault.useMongoAuthState({ sessionId: 's', mongodb: { mongoUrl: M, databaseName: e.DB } })`,
  ],
  ['mongodb.dbName', `vault.useMongoAuthState({ sessionId: 's', mongodb: { mongoUrl: M, dbName: '' } })`],
  [
    'mongodb.collection',
    `vault.useMongoAuthState({ sessionId: 's', mongodb: { mongoUrl: M, collection: e.COLLECTION } })`,
  ],
  [
    'hybrid.redisUrl',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: vault.createHybridConfigFromPreset('PRODUCTION', { mongoUrl: M, masterKey: KEY, redisUrl: e.REDIS_URL }) })`,
  ],
  [
    'hybrid.masterKey',
    `vault.useHybridAuthState({ sessionId: 's', hybrid: vault.createHybridConfigFromPreset('PRODUCTION', { mongoUrl: M, redisUrl: R, masterKey: e.MASTER_KEY }) })`,
  ],
];

/** What stays possible: a switch by name, and what a condition leaves empty where nothing depends on it. */
const TAKEN: readonly string[] = [
  `vault.useMultiFileAuthState(FOLDER, { masterKey: e.MASTER_KEY, enableEncryption: false })`,
  `vault.useMultiFileAuthState(FOLDER, { masterKey: e.MASTER_KEY, security: { enableEncryption: false } })`,
  `vault.useMultiFileAuthState(FOLDER, { logger: undefined, ttl: undefined, previousMasterKeys: undefined, durability: undefined })`,
  `vault.useMultiFileAuthState(FOLDER, {})`,
];

const program = (calls: readonly string[]): string => `
import * as vault from 'baileys-vault';
const e = {};
const { KEY, FOLDER } = process.env;
// Nothing listens there: what is not refused by its options fails otherwise.
const R = 'redis://127.0.0.1:1', M = 'mongodb://127.0.0.1:1';
const fields = [];
for (const call of [${calls.map((call) => `() => ${call}`).join(',\n')}]) {
  try {
    const { store } = await call();
    await store?.close();
    fields.push('opened');
  } catch (error) {
    fields.push(error.code === 'CONFIG_INVALID' && error.retryable === false ? error.field : String(error));
  }
}
console.log('FIELDS ' + JSON.stringify(fields));
process.exit(0);
`;

describe('an environment variable that is not set', () => {
  async function fieldsOf(
    t: Parameters<typeof runNode>[0],
    calls: readonly string[],
    folder: string,
  ): Promise<unknown[]> {
    const { code, stdout, stderr } = await runNode(t, ['--input-type=module', '-e', program(calls)], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, KEY, FOLDER: join(folder, 'auth') },
    });
    assert.equal(code, 0, stderr);
    return JSON.parse(/^FIELDS (.*)$/m.exec(stdout)?.[1] ?? 'null') as unknown[];
  }

  it('is an error that names its option, before anything is made', async (t) => {
    const folder = await makeFolder(t);
    const fields = await fieldsOf(
      t,
      REFUSED.map(([, call]) => call),
      folder,
    );
    assert.deepEqual(
      fields.map((field, index) => `${field} by ${REFUSED[index]?.[1]}`),
      REFUSED.map(([field, call]) => `${field} by ${call}`),
    );
    assert.deepEqual(readdirSync(folder), []);
  });

  it('does no harm where nothing hangs on it', async (t) => {
    const folder = await makeFolder(t);
    const expected = ['opened', 'opened', 'opened', 'opened'];
    // A folder has no ttl, be it undefined.
    assert.deepEqual(await fieldsOf(t, TAKEN, folder), expected);
  });
});
