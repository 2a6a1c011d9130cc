/** Options as programs have them for ioredis, node-redis, mongoose and the package that this one replaces. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import { describeWith, type Server, sharedMongo, startRedis } from '../support/services.js';
import { allOpened, type Outcome, outcomesOf } from './outcomes.js';
import { makeFolder } from './support.js';

const PROGRAM = (calls: readonly string[]): string => `
import * as vault from 'baileys-vault';
const { HOST, PORT, REDIS, MONGO, DATABASE, SOCKET, FOLDER } = process.env;
const outcomes = [];
let number = 0;
for (const call of [${calls.map((call) => `(base) => ${call}`).join(',\n')}]) {
  const warnings = [];
  const silent = () => {};
  const logger = { debug: silent, info: silent, error: silent, warn: (message) => warnings.push(message) };
  const base = { sessionId: 'pasted-' + process.pid + '-' + number++, logger };
  try {
    const { saveCreds, store } = await call(base);
    await saveCreds();
    const found = await store.list();
    await store.delete(found[0]);
    await store.close();
    outcomes.push({ outcome: 'opened', warnings });
  } catch ({ code, field, message }) {
    outcomes.push({ outcome: code, field, message, warnings });
  }
}
console.log('OUTCOMES ' + JSON.stringify(outcomes));
process.exit(0);
`;

const redis = (section: string): string => `vault.useRedisAuthState({ ...base, redis: ${section} })`;
const mongo = (section: string): string => `vault.useMongoAuthState({ ...base, mongodb: ${section} })`;
const hybrid = (section: string): string => `vault.useHybridAuthState({ ...base, hybrid: ${section} })`;

describeWith(['redis', 'mongo'], 'options pasted from another program', () => {
  let server: Server;
  let env: NodeJS.ProcessEnv;

  before(async () => {
    // One that ACL users must log in to, with a socket of its own beside the port.
    server = await startRedis({ config: { requirepass: 'main', unixsocket: 'redis.sock' } });
    const admin = new Redis({ host: server.host, port: server.port, password: 'main' });
    await admin.call('ACL', 'SETUSER', 'bot', 'on', '>p@ss/w', '~*', '&*', '+@all');
    const [, folder] = (await admin.config('GET', 'dir')) as string[];
    await admin.quit();
    env = {
      HOST: server.host,
      PORT: String(server.port),
      REDIS: server.url,
      MONGO: (await sharedMongo()).replace(/\/?(\?.*)?$/, ''),
      DATABASE: `pasted-${process.pid}`,
      SOCKET: join(String(folder), 'redis.sock'),
    };
  });
  after(() => server?.stop());

  async function run(t: TestContext, calls: readonly string[]): Promise<Outcome[]> {
    return await outcomesOf(t, PROGRAM(calls), { ...env, FOLDER: join(await makeFolder(t), 'auth') });
  }

  it('are taken under the names of ioredis and node-redis', async (t) => {
    allOpened(
      await run(t, [
        redis(`{ host: HOST, port: PORT, password: 'main' }`),
        redis(
          `{ host: HOST, port: Number(PORT), username: 'bot', password: 'p@ss/w', db: 2, keyPrefix: 'app:', family: 4 }`,
        ),
        redis(`{ redisUrl: REDIS, username: 'bot', password: 'p@ss/w', db: '3' }`),
        redis(`{ url: REDIS + '/4', password: 'main', db: 4 }`),
        redis(`{ path: SOCKET, password: 'main', db: 1 }`),
        redis(`{ redisUrl: SOCKET, password: 'main' }`),
        redis(`{ redisUrl: 'unix://' + SOCKET + '?db=1', password: 'main' }`),
        redis(`{ host: HOST, port: PORT, password: 'main', username: undefined, tls: undefined, maxRetriesPerRequest: null,
          lazyConnect: true, enableReadyCheck: false, retryStrategy: () => 50, connectTimeout: 1000, commandTimeout: 1000,
          keepAlive: 1000, enableOfflineQueue: true, connectionName: 'bot', readOnly: false, natMap: undefined }`),
        hybrid(
          `{ redisHost: HOST, redisPort: PORT, redisUsername: 'bot', redisPassword: 'p@ss/w', redisDb: 5, redisKeyPrefix: 'app', mongoUrl: MONGO, mongoDatabase: DATABASE }`,
        ),
        hybrid(
          `{ redisUrl: REDIS, redisPassword: 'main', mongoUrl: MONGO, mongoDbName: DATABASE, writeBehindQueueSize: 500 }`,
        ),
      ]),
    );
  });

  it('are taken under the names of mongoose', async (t) => {
    allOpened(
      await run(t, [
        mongo(`{ mongoUrl: MONGO, dbName: DATABASE, useNewUrlParser: true, useUnifiedTopology: true, autoIndex: false,
          maxPoolSize: 5, socketTimeoutMS: 1000, serverSelectionTimeoutMS: 1000, family: 4, bufferCommands: false }`),
        mongo(
          `{ uri: MONGO, dbName: DATABASE, user: '', pass: undefined, appName: 'mine', retryWrites: true }`,
        ),
        mongo(`{ url: MONGO + '/' + DATABASE, collection: 'auth', tls: false }`),
      ]),
    );
  });

  it('with no effect cost one warning that says what has', async (t) => {
    const [outcome] = await run(t, [
      redis(`{ host: HOST, port: PORT, password: 'main', maxRetriesPerRequest: 1, lazyConnect: true }`),
    ]);
    allOpened([outcome as Outcome]);
    const about = outcome?.warnings.filter((text) => text.includes('no effect')) ?? [];
    assert.equal(about.length, 1);
    assert.match(
      about[0] ?? '',
      /redis\.maxRetriesPerRequest \(see resilience\.maxRetries\), redis\.lazyConnect/,
    );
  });

  it('that cannot be had are refused, naming what can', async (t) => {
    const refused: readonly [call: string, field: string, text: RegExp][] = [
      [redis(`{ redisUrl: REDIS, natMap: { 'a:1': { host: 'b', port: 2 } } }`), 'redis.natMap', /announce/],
      [redis(`{ socket: { host: HOST, port: 1 } }`), 'redis.socket', /host, port, path and tls/],
      [redis(`{ redisUrl: REDIS, readOnly: true }`), 'redis.readOnly', /written/],
      [redis(`{ clusterNodes: [HOST] }`), 'redis.clusterNodes', /redis\+cluster/],
      [redis(`{ sentinels: [{ host: HOST, port: 26379 }] }`), 'redis.name', /master/],
      [redis(`{ sentinels: [{ port: 1 }], name: 'm' }`), 'redis.sentinels[0].host', /non-empty/],
      [redis(`{ redisUrl: REDIS, host: HOST }`), 'redis.host', /together with redis\.redisUrl/],
      [redis(`{ redisUrl: 'redis://:main@h', password: 'other' }`), 'redis.password', /differs/],
      [redis(`{ redisUrl: REDIS + '/1', db: 2 }`), 'redis.db', /differs/],
      [redis(`{ redisURL: REDIS }`), 'redis.redisURL', /did you mean redisUrl/],
      [redis(`{ redisUrl: REDIS, tls: { servername: 'other' } }`), 'redis.tls.servername', /connect/],
      [redis(`{ redisUrl: REDIS, password: 'wrong' }`), 'redis.password', /password/],
      [redis(`{ redisUrl: REDIS.replace('redis://', 'redis://:wrong@') }`), 'redis.redisUrl', /password/],
      [hybrid(`{ host: HOST, mongoUrl: MONGO }`), 'hybrid.host', /did you mean redisHost/],
      [hybrid(`{ redisHost: 5, mongoUrl: MONGO }`), 'hybrid.redisHost', /non-empty/],
      [
        hybrid(`{ redisUrl: REDIS, password: 'main', mongoUrl: MONGO }`),
        'hybrid.password',
        /did you mean redisPassword/,
      ],
      [
        hybrid(`{ redisUrl: REDIS, redisPassword: 'wrong', mongoUrl: MONGO, mongoDatabase: DATABASE }`),
        'hybrid.redisPassword',
        /password/,
      ],
      [mongo(`{ mongoUrl: MONGO, sslCA: 'x' }`), 'mongodb.sslCA', /tls\.ca/],
      [mongo(`{ mongoUrl: MONGO.replace('://', '://u:p@'), user: 'other' }`), 'mongodb.user', /differs/],
      [
        mongo(`{ mongoUrl: MONGO + '/?retryWrites=true', retryWrites: false }`),
        'mongodb.retryWrites',
        /differs/,
      ],
      [mongo(`{ mongoUrl: MONGO, authSource: {} }`), 'mongodb.authSource', /text/],
    ];
    const outcomes = await run(
      t,
      refused.map(([call]) => call),
    );
    for (const [index, [call, field, text]] of refused.entries()) {
      const { outcome, field: found, message } = outcomes[index] as Outcome;
      assert.deepEqual([outcome, found], ['CONFIG_INVALID', field], `${call}: ${message}`);
      assert.match(message ?? '', text);
    }
  });

  it('of several hooks may stand in one object', async (t) => {
    const shared = `{
      ...base,
      redis: { redisUrl: REDIS, password: 'main' },
      mongodb: { mongoUrl: MONGO, databaseName: DATABASE },
      hybrid: { redisUrl: REDIS, redisPassword: 'main', mongoUrl: MONGO, mongoDatabase: DATABASE },
    }`;
    allOpened(
      await run(t, [
        `vault.useRedisAuthState(${shared})`,
        `vault.useMongoAuthState(${shared})`,
        `vault.useHybridAuthState(${shared})`,
        `vault.useMultiFileAuthState(FOLDER, { ...${shared}, sessionId: undefined })`,
      ]),
    );
  });

  it('of a service of one’s own are refused by name', async (t) => {
    const own = `{ encrypt: (x) => x, decrypt: (x) => x }`;
    const create = (name: string, args: string): string =>
      `vault.create${name}(${args}).then((store) => ({ store, saveCreds() {} }))`;
    const outcomes = await run(t, [
      create('RedisStore', `{ redisUrl: REDIS, password: 'main' }, ${own}`),
      create(
        'MongoStore',
        `{ mongoUrl: MONGO, databaseName: DATABASE }, undefined, { encode() {}, decode() {} }`,
      ),
      create('RedisStore', `{ redisUrl: REDIS, password: 'main' }, 'key'`),
    ]);
    assert.deepEqual(
      outcomes.map(({ outcome, field }) => `${outcome} ${field}`),
      ['CONFIG_INVALID crypto', 'CONFIG_INVALID codec', 'CONFIG_INVALID crypto'],
      JSON.stringify(outcomes),
    );
  });
});
