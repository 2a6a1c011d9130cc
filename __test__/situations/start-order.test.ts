/** A program that starts before its servers do, as when a compose file starts all of them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import Redis from 'ioredis';
import { describeWith, freePort, startMongo, startRedis, until } from '../support/services';
import { refusalOf, runWriter, startWriter } from './writer';

/** How long nobody is there. */
const LATE_MS = 2_000;

describeWith(['redis', 'ownMongo'], 'a bot that starts before its servers', () => {
  it('waits for them up to openTimeout, and says so', async (t) => {
    const [redisPort, mongoPort] = [await freePort(), await freePort()];
    const redisUrl = `redis://127.0.0.1:${redisPort}`;
    const mongoUrl = `mongodb://127.0.0.1:${mongoPort}`;
    const shared = { sessionId: 's', openTimeout: 60_000 };
    const bots = [
      startWriter(t, { hook: 'useRedisAuthState', options: { ...shared, redis: { redisUrl } } }),
      startWriter(t, { hook: 'useMongoAuthState', options: { ...shared, mongodb: { mongoUrl } } }),
      startWriter(t, {
        hook: 'useHybridAuthState',
        options: { ...shared, hybrid: { redisUrl, mongoUrl, mongoDatabase: 'hybrid' } },
      }),
    ];
    await until('all of them wait', async () =>
      bots.every(({ said }) => said.some(({ log }) => log === 'warn')),
    );
    await sleep(LATE_MS);
    const servers = await Promise.all([startRedis({ port: redisPort }), startMongo({ port: mongoPort })]);
    t.after(() => Promise.all(servers.map((server) => server.stop())));
    for (const [index, bot] of bots.entries()) {
      const said = await bot.ended;
      assert.ok(
        said.some(({ opened }) => opened),
        JSON.stringify(said),
      );
      const waiting = said.find(({ log }) => log === 'warn');
      assert.match(String(waiting?.message), /cannot be opened yet/);
      assert.match(String(waiting?.message), new RegExp(String(index === 0 ? redisPort : mongoPort)));
    }
  });

  it('is told after openTimeout that nobody is there, and where', async (t) => {
    const [redisPort, mongoPort] = [await freePort(), await freePort()];
    const shared = { sessionId: 's', openTimeout: 1_000, resilience: { operationTimeout: 2_000 } };
    const [redis, mongo] = await Promise.all([
      runWriter(t, {
        hook: 'useRedisAuthState',
        options: { ...shared, redis: { redisUrl: `redis://:hunter2@127.0.0.1:${redisPort}` } },
      }),
      runWriter(t, {
        hook: 'useMongoAuthState',
        options: { ...shared, mongodb: { mongoUrl: `mongodb://127.0.0.1:${mongoPort}` } },
      }),
    ]);
    for (const [said, port] of [
      [redis, redisPort],
      [mongo, mongoPort],
    ] as const) {
      const refusal = refusalOf(said);
      assert.ok(['STORAGE_UNAVAILABLE', 'TIMEOUT'].includes(String(refusal.code)), refusal.code);
      assert.equal(refusal.retryable, true);
      assert.match(String(refusal.message), new RegExp(`127\\.0\\.0\\.1:${port}`));
      assert.ok(Number(refusal.ms) < 20_000, `${refusal.ms} ms`);
      assert.doesNotMatch(JSON.stringify(said), /hunter2/);
    }
  });
});

describeWith('redis', 'a Redis that loads its data', () => {
  it('is waited for', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const task = {
      hook: 'useRedisAuthState',
      options: { sessionId: 's', openTimeout: 60_000, redis: { redisUrl: redis.url } },
    } as const;
    const client = new Redis(redis.url);
    const filler = Array.from({ length: 300 }, (_, n) => [`filler:${n}`, randomBytes(2_000)] as const);
    await client.mset(new Map(filler));
    await client.save();
    client.disconnect();
    const { port, dir } = redis;
    await redis.kill();
    // Two settings of Redis' own tests: each key takes 10 ms to load, and clients are answered in between.
    const slow = { 'key-load-delay': '10000', 'loading-process-events-interval-bytes': '1024' };
    const loading = startRedis({ port, dir, config: slow });
    t.after(async () => (await loading).stop());
    const said = await runWriter(t, task);
    assert.ok(
      said.some(({ opened }) => opened),
      JSON.stringify(said),
    );
    const waiting = said.filter(({ log }) => log === 'warn').map(({ message }) => message);
    assert.ok(
      waiting.some((message) => /loading its data/.test(String(message))),
      waiting.join('\n'),
    );
  });
});
