/** doctor on servers: what is wrong with them, and with what they hold beside the sessions, is found beside running bots. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import { type Db, MongoClient } from 'mongodb';
import type { Code } from '../../lib/cli/doctor/catalogue.js';
import { makeFolder } from '../situations/support.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { writeHash } from './foreign/writers.js';
import { SERVER_CODES } from './server-codes.js';
import { cli, holdSession, json, KEY, makeSession, writeFolder } from './support.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
const DATABASE = 'doctor';
/** So that what Redis is not set to is not found as well. */
const SAFE = { persist: true, config: { 'maxmemory-policy': 'noeviction' } };
/** What the session lacks that the tests make. */
const OF_THE_SESSION = ['PREKEY_CURRENT_MISSING', 'APP_STATE_KEY_MISSING'];

interface Found {
  code: Code;
  sessionId: string | null;
  what: string;
}

const found = new Set<Code>();

/** What doctor finds on the servers of a store. */
async function diagnose(t: TestContext, address: string, env: Record<string, string> = {}): Promise<Found[]> {
  const options = { env: { ...SEALED.env, ...env } };
  const { stdout, stderr } = await cli(t, ['doctor', '--store', address, '--json'], options);
  assert.notEqual(stdout, '', stderr);
  const { findings } = JSON.parse(stdout) as { findings: Found[] };
  const servers = findings.filter(({ code }) => !OF_THE_SESSION.includes(code));
  for (const { code } of servers) {
    found.add(code);
  }
  return servers;
}

const told = (findings: readonly Found[]): [Code, string | null][] =>
  findings.map(({ code, sessionId }) => [code, sessionId]);

async function importInto(t: TestContext, address: string, sessionId: string): Promise<void> {
  const folder = join(await makeFolder(t), 'auth_info');
  await writeFolder(folder, await makeSession());
  await json(t, ['import', folder, '--store', address, '--as', sessionId], SEALED);
}

/** Options of Node.js for a process whose wall clock is so many ms ahead. */
const clockAhead = (by: number): string =>
  `--import=data:text/javascript,${encodeURIComponent(`const now = Date.now; Date.now = () => now() + ${by};`)}`;

describeWith(['redis'], 'doctor on a Redis', () => {
  let server: Server;
  let redis: Redis;
  before(async () => {
    server = await startRedis(SAFE);
    redis = new Redis(server.url);
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  it('finds nothing on one that is healthy, and what it will remove', async (t) => {
    await redis.flushall();
    await importInto(t, server.url, 'a{b}:c');
    assert.deepEqual(told(await diagnose(t, server.url)), []);
    await redis.pexpire('bv:{a%7Bb%7D:c}', 3_600_000);
    const [finding] = await diagnose(t, server.url);
    assert.deepEqual([finding?.code, finding?.sessionId], ['SESSION_EXPIRES', 'a{b}:c']);
    assert.match(finding?.what ?? '', /removes it in (1 h|59 min \d+ s), which no bot asked for/);
  });

  it('says of a session with a ttl when that ends', async (t) => {
    await redis.flushall();
    await holdSession(t, {
      hook: 'useRedisAuthState',
      args: [
        { sessionId: 'brief', masterKey: KEY, redis: { redisUrl: server.url }, ttl: { defaultTtl: 7200 } },
      ],
    });
    const findings = await diagnose(t, server.url);
    const brief = findings.find(({ code }) => code === 'SESSION_EXPIRES');
    assert.match(brief?.what ?? '', /^Redis removes it in (2 h|1 h 59 min)$/);
  });

  it('compares clocks', async (t) => {
    await redis.flushall();
    await importInto(t, server.url, 'bot');
    const findings = await diagnose(t, server.url, { NODE_OPTIONS: clockAhead(600_000) });
    assert.deepEqual(told(findings), [['CLOCK_SKEW', null]]);
    assert.match(findings[0]?.what ?? '', /the clock of Redis is (10 min|9 min 59 s) behind this machine's/);
    assert.deepEqual(told(await diagnose(t, server.url, { NODE_OPTIONS: clockAhead(2000) })), []);
  });

  it('looks at what its user may see, and says that it is not all', async (t) => {
    await redis.flushall();
    await importInto(t, server.url, 'bot');
    await redis.call('ACL', 'SETUSER', 'narrow', 'on', '>secret', '~*', '&*', '+@all', '-type');
    await redis.hset('shop:auth', 'user', 'x');
    const NARROW = server.url.replace('redis://', 'redis://narrow:secret@');
    const findings = await diagnose(t, 'env:NARROW', { NARROW });
    assert.deepEqual(told(findings), [['STORE_WARNING', null]]);
    assert.match(
      findings[0]?.what ?? '',
      /^not all was looked at: .*the ACL user may not run a needed command/,
    );
  });

  it('finds what another library has left, and the second copy of an identity', async (t) => {
    await redis.flushall();
    const session = await makeSession();
    await writeHash(server.url, 'DB1', session);
    await json(
      t,
      ['import', `baileys-redis-auth:${server.url}`, '--store', server.url, '--as', 'bot'],
      SEALED,
    );
    const findings = await diagnose(t, server.url);
    assert.deepEqual(told(findings), [
      ['IDENTITY_TWICE', 'DB1'],
      ['OLD_STORE_LEFT', null],
    ]);
    assert.match(findings[1]?.what ?? '', /1 session of baileys-redis-auth: DB1/);
  });
});

describeWith(['ownMongo'], 'doctor on a MongoDB', () => {
  let server: Server;
  let client: MongoClient;
  let db: Db;
  let address: string;
  before(async () => {
    server = await startMongo();
    client = await MongoClient.connect(server.url);
    db = client.db(DATABASE);
    address = `${server.url}/?databaseName=${DATABASE}`;
  });
  after(async () => {
    await client.close();
    await server.stop();
  });

  it('finds nothing on one that is healthy, and what it will remove', async (t) => {
    await db.dropDatabase();
    await importInto(t, address, 'bot/1');
    assert.deepEqual(told(await diagnose(t, address)), []);
    const sessions = db.collection<{ _id: string }>('vault_sessions');
    const soon = new Date(Date.now() + 3_600_000);
    await sessions.updateOne({ _id: 'bot/1' }, { $set: { expiresAt: soon } });
    const [finding] = await diagnose(t, address);
    assert.deepEqual([finding?.code, finding?.sessionId], ['SESSION_EXPIRES', 'bot/1']);
    assert.match(finding?.what ?? '', /it ends in (1 h|59 min \d+ s)/);
  });

  it('finds an index that removes what is in use', async (t) => {
    await db.dropDatabase();
    await importInto(t, address, 'bot');
    await db
      .collection('vault_records')
      .createIndex({ createdAt: 1 }, { expireAfterSeconds: 86_400, name: 'tidy' });
    const findings = await diagnose(t, address);
    assert.deepEqual(told(findings), [['TTL_INDEX', null]]);
    assert.match(findings[0]?.what ?? '', /index tidy removes documents of vault_records by createdAt/);
  });

  it('finds records whose session is no more, and none of those that are there', async (t) => {
    await db.dropDatabase();
    for (const name of ['a', 'bot/1', 'z']) {
      await importInto(t, address, name);
    }
    const records = db.collection<{ _id: string }>('vault_records');
    const one = await records.findOne({ _id: /^a\// });
    const id = one?._id ?? '';
    await records.insertOne({ ...one, _id: id.replace(/^a\//, 'ghost/') });
    await records.insertOne({ ...one, _id: id.replace(/^a\/\w+\//, 'a/0123456789abcdef/') });
    const findings = await diagnose(t, address);
    assert.deepEqual(told(findings), [['ORPHANS', null]]);
    assert.match(findings[0]?.what ?? '', /2 sessions that are no more: a, ghost/);
  });

  it('compares clocks', async (t) => {
    await db.dropDatabase();
    await importInto(t, address, 'bot');
    const findings = await diagnose(t, address, { NODE_OPTIONS: clockAhead(-600_000) });
    assert.deepEqual(told(findings), [['CLOCK_SKEW', null]]);
    assert.match(findings[0]?.what ?? '', /the clock of MongoDB is .* ahead of this machine's/);
  });
});

describeWith(['redis', 'ownMongo'], 'doctor in hybrid mode', () => {
  let redisServer: Server;
  let mongoServer: Server;
  let redis: Redis;
  let client: MongoClient;
  before(async () => {
    [redisServer, mongoServer] = [await startRedis(SAFE), await startMongo()];
    redis = new Redis(redisServer.url);
    client = await MongoClient.connect(mongoServer.url);
  });
  after(async () => {
    redis.disconnect();
    await client.close();
    await Promise.all([redisServer.stop(), mongoServer.stop()]);
  });

  const address = (database: string): string =>
    `hybrid:${redisServer.url}?keyPrefix=${database}+${mongoServer.url}/?databaseName=${database}`;

  /** A bot that was acknowledged a write which MongoDB does not have, and was killed. */
  async function killedBehind(t: TestContext, database: string): Promise<void> {
    const hybrid = {
      redisUrl: redisServer.url,
      redisPrefix: database,
      mongoUrl: mongoServer.url,
      mongoDatabase: database,
      enableWriteBehind: true,
    };
    const bot = await holdSession(t, {
      hook: 'useHybridAuthState',
      args: [{ sessionId: 'bot', masterKey: KEY, hybrid, ttl: { lockTtl: 5 } }],
    });
    bot.child.stdin.write('write\n');
    await bot.says('written');
    const everything = client.db(database).collection<{ _id: string; version: unknown }>('vault_sessions');
    while (Number((await everything.findOne({ _id: 'bot' }))?.version ?? 0) < 2) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.deepEqual(
      told(await diagnose(t, address(database))).filter(([code]) => code.startsWith('OUTBOX')),
      [],
    );
    await mongoServer.kill();
    bot.child.stdin.write('write\n');
    const [outbox = ''] = await redis.keys(`${database}:{bot}:*:outbox`);
    // The head, and the entry that is acknowledged with it.
    while ((await redis.hlen(outbox)) < 2) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    bot.child.kill('SIGKILL');
    await bot.ended;
    await mongoServer.restart();
    // Its lease in Redis has run out.
    while ((await redis.keys(`${database}:{bot}:*:owner`)).length > 0) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  const outboxesOf = (findings: readonly Found[]): Found[] =>
    findings.filter(({ code }) => code.startsWith('OUTBOX') || code === 'DEAD_LETTERS');

  it('finds what MongoDB lacks, and an outbox that is lost', async (t) => {
    await killedBehind(t, 'behind');
    const findings = outboxesOf(await diagnose(t, address('behind')));
    assert.deepEqual(told(findings), [['OUTBOX_BEHIND', 'bot']]);
    assert.match(findings[0]?.what ?? '', /MongoDB lacks 1 patch, .* and no bot has the session/);
    await redis.flushall();
    const lost = outboxesOf(await diagnose(t, address('behind')));
    assert.deepEqual(told(lost), [['OUTBOX_LOST', 'bot']]);
  });

  it('counts dead letters', async (t) => {
    await killedBehind(t, 'passed');
    // An operator goes on with what MongoDB has.
    const passed = await holdSession(t, {
      hook: 'useMongoAuthState',
      args: [
        {
          sessionId: 'bot',
          masterKey: KEY,
          mongodb: { mongoUrl: mongoServer.url, databaseName: 'passed', acceptLostOutbox: true },
        },
      ],
    });
    passed.child.stdin.end('close\n');
    await passed.ended;
    const next = await holdSession(t, {
      hook: 'useHybridAuthState',
      args: [
        {
          sessionId: 'bot',
          masterKey: KEY,
          hybrid: {
            redisUrl: redisServer.url,
            redisPrefix: 'passed',
            mongoUrl: mongoServer.url,
            mongoDatabase: 'passed',
            enableWriteBehind: true,
          },
        },
      ],
    });
    next.child.stdin.end('close\n');
    await next.ended;
    const findings = outboxesOf(await diagnose(t, address('passed')));
    assert.deepEqual(told(findings), [['DEAD_LETTERS', null]]);
    assert.match(findings[0]?.what ?? '', /^1 in Redis$/);
  });
});

describeWith(['redis', 'ownMongo'], 'the gallery of servers', () => {
  it('has all that is found on servers alone', () => {
    assert.deepEqual(
      SERVER_CODES.filter((code) => !found.has(code)),
      [],
    );
  });
});
