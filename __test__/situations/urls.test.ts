/** URLs as programs have them: with a database, with options of other drivers, with a mistake. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { MongoClient } from 'mongodb';
import { describeWith, type Server, sharedMongo, startRedis } from '../support/services.js';
import { runNode } from './support.js';

const ROOT = join(__dirname, '..', '..');

/** Runs `body`, a program with `vault`, `REDIS`, `MONGO` and `hear`, which collects warnings; gives what it returns. */
async function run<T>(t: Parameters<typeof runNode>[0], body: string, env: NodeJS.ProcessEnv): Promise<T> {
  const source = `
    import * as vault from 'baileys-vault';
    const { REDIS, MONGO } = process.env;
    const silent = () => {};
    const hear = (warnings) => ({ debug: silent, info: silent, error: silent, warn: (text) => warnings.push(text) });
    const main = async () => { ${body} };
    console.log('RESULT ' + JSON.stringify((await main()) ?? null));
    process.exit(0);`;
  const { code, stdout, stderr } = await runNode(t, ['--input-type=module', '-e', source], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  });
  assert.equal(code, 0, stderr);
  return JSON.parse(/^RESULT (.*)$/m.exec(stdout)?.[1] ?? 'null') as T;
}

describeWith(['redis', 'mongo'], 'a URL', () => {
  const databases = ['one', 'two', 'three'].map((name) => `urls-${name}-${process.pid}`);
  let redis: Server;
  let mongo: string;
  let env: NodeJS.ProcessEnv;

  before(async () => {
    [redis, mongo] = await Promise.all([startRedis(), sharedMongo()]);
    env = { REDIS: redis.url, MONGO: mongo.replace(/\/?(\?.*)?$/, '') };
  });
  after(async () => {
    await redis?.stop();
    const client = new MongoClient(mongo);
    for (const name of databases) await client.db(name).dropDatabase();
    await client.close();
  });

  it('says which database of MongoDB is used, unless an option does', async (t) => {
    const [one, two, three] = databases;
    const { keys, found } = await run<{ keys: string[]; found: Record<string, unknown> }>(
      t,
      `
      const hooks = {
        one: () => vault.useMongoAuthState({ sessionId: 'bot', mongodb: { mongoUrl: MONGO + '/${one}' } }),
        two: () => vault.useMongoAuthState({ sessionId: 'bot', mongodb: { mongoUrl: MONGO + '/${two}' } }),
        three: () => vault.useMongoAuthState({ sessionId: 'bot', mongodb: { mongoUrl: MONGO + '/${two}', dbName: '${three}' } }),
        hybridOne: () => vault.useHybridAuthState({ sessionId: 'bot-2', hybrid: { redisUrl: REDIS, redisPrefix: 'one', mongoUrl: MONGO + '/${one}' } }),
        hybridTwo: () => vault.useHybridAuthState({ sessionId: 'bot-2', hybrid: { redisUrl: REDIS, redisPrefix: 'two', mongoUrl: MONGO + '/${two}' } }),
      };
      const keys = [], found = {};
      for (const [name, hook] of Object.entries(hooks)) {
        const { state, saveCreds, store } = await hook();
        await saveCreds();
        keys.push(state.creds.noiseKey.public.toString('hex'));
        found[name] = await store.list();
        await store.close();
      }
      return { keys, found };`,
      env,
    );
    assert.equal(new Set(keys).size, 5, 'each is an identity of its own');
    assert.deepEqual(found, {
      one: ['bot'],
      two: ['bot'],
      three: ['bot'],
      hybridOne: ['bot', 'bot-2'],
      hybridTwo: ['bot', 'bot-2'],
    });
    const client = new MongoClient(mongo);
    const counts = await Promise.all(
      databases.map((name) => client.db(name).collection('vault_sessions').countDocuments()),
    );
    await client.close();
    assert.deepEqual(counts, [2, 2, 1]);
  });

  it('may hold what other drivers read there, with one warning', async (t) => {
    const warned = await run<string[][]>(
      t,
      `
      const all = [];
      for (let time = 0; time < 2; time++) {
        const warnings = [];
        const logger = hear(warnings);
        const mongoUrl = MONGO + '/${databases[0]}?useUnifiedTopology=true&useNewUrlParser=true&socketTimeoutMS=1000&compressors=zlib'
          + '&maxPoolSize=0&family=4&retryWrites=true&w=majority&appName=mine&serverSelectionTimeoutMS=2000&readPreference=primary';
        const redisUrl = REDIS + '/1?family=4&protocol=3&client_name=mine';
        const one = await vault.useMongoAuthState({ sessionId: 'bot-3', logger, mongodb: { mongoUrl } });
        await one.store.close();
        const two = await vault.useRedisAuthState({ sessionId: 'bot-3', logger, redis: { redisUrl } });
        await two.store.close();
        const three = await vault.useHybridAuthState({ sessionId: 'bot-3', logger, hybrid: { redisUrl, mongoUrl, writeBehindQueueSize: 1000 } });
        await three.store.close();
        all.push(warnings.filter((text) => text.includes('no effect')));
      }
      return all;`,
      env,
    );
    const [first = [], second] = warned;
    assert.equal(first.length, 3, first.join('\n'));
    for (const name of [
      'useUnifiedTopology',
      'useNewUrlParser',
      'socketTimeoutMS',
      'compressors',
      'maxPoolSize=0',
      'family',
    ]) {
      assert.ok(first[0]?.includes(`${name} in mongodb.mongoUrl`), first[0]);
    }
    for (const name of ['family', 'protocol', 'client_name']) {
      assert.ok(first[1]?.includes(`${name} in redis.redisUrl`), first[1]);
    }
    assert.ok(first[2]?.includes('hybrid.writeBehindQueueSize'), first[2]);
    assert.deepEqual(second, [], 'a reconnect does not repeat them');
  });

  it('is refused by the name of its option, and of what is wrong in it', async (t) => {
    const refused = await run<[string, string, string][]>(
      t,
      `
      const calls = [
        () => vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: REDIS + '?retry_forever=1' } }),
        () => vault.useMongoAuthState({ sessionId: 's', mongodb: { mongoUrl: MONGO + '/?retryForever=1' } }),
        () => vault.useHybridAuthState({ sessionId: 's', hybrid: { redisUrl: REDIS + '?retry_forever=1', mongoUrl: MONGO } }),
        () => vault.useHybridAuthState({ sessionId: 's', hybrid: { redisUrl: REDIS, mongoUrl: MONGO + '/?retryForever=1' } }),
        () => vault.useRedisAuthState({ sessionId: 's', redis: { url: 'redis://h:port' } }),
        () => vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: 'redis://h/x' } }),
        () => vault.useRedisAuthState({ sessionId: 's', redis: { redisUrl: 'redis+sentinel://h' } }),
        () => vault.useMongoAuthState({ sessionId: 's', mongodb: { uri: 'mongodb://h/?w=0' } }),
        () => vault.useMongoAuthState({ sessionId: 's', mongodb: { mongoUrl: 'mongodb://h/?directConnection=maybe' } }),
        () => vault.useHybridAuthState({ sessionId: 's', hybrid: { redisHost: 'h', redisPort: 'x', mongoUrl: MONGO } }),
      ];
      const results = [];
      for (const call of calls) {
        results.push(await call().then(() => ['opened'], ({ code, field, message }) => [code, field, message]));
      }
      return results;`,
      env,
    );
    assert.deepEqual(
      refused.map(([code, field]) => `${code} ${field}`),
      [
        'CONFIG_INVALID redis.redisUrl',
        'CONFIG_INVALID mongodb.mongoUrl',
        'CONFIG_INVALID hybrid.redisUrl',
        'CONFIG_INVALID hybrid.mongoUrl',
        'CONFIG_INVALID redis.url',
        'CONFIG_INVALID redis.redisUrl',
        'CONFIG_INVALID redis.redisUrl',
        'CONFIG_INVALID mongodb.uri',
        'CONFIG_INVALID mongodb.mongoUrl',
        'CONFIG_INVALID hybrid.redisPort',
      ],
      JSON.stringify(refused),
    );
    for (const [, , message] of refused.slice(0, 4)) {
      assert.match(message, /"retry_?[fF]orever"/);
    }
  });
});
