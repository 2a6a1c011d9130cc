/** Servers that are away for a moment: how soon a program can write again, and what it is told meanwhile. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { describeWith, type Server, startMongo, startRedis, until } from '../support/services';
import { type Said, startWriter, type Writer } from './writer';

/** With the default cool-down of 30 s; a busy machine gets some time. */
const SOON_MS = 4_000;

const acks = (said: readonly Said[]): readonly Said[] => said.filter(({ ack }) => ack);
const errors = (said: readonly Said[]): readonly Said[] => said.filter(({ error }) => error);

async function writes(writer: Writer): Promise<void> {
  const before = acks(writer.said).length;
  await until('it writes', async () => acks(writer.said).length > before + 2);
}

/**
 * Takes the server away until all writers are refused without asking it, and gives the time until the first write after,
 * of each.
 */
async function recovery(server: Server, ...writers: readonly Writer[]): Promise<number[]> {
  await Promise.all(writers.map(writes));
  await server.kill();
  for (const writer of writers) {
    await until('the breaker opens', async () => writer.said.some(({ code }) => code === 'CIRCUIT_OPEN'));
  }
  await server.restart();
  const back = Date.now();
  await Promise.all(writers.map(writes));
  return writers.map((writer) => Number(acks(writer.said).find(({ at }) => at >= back)?.at) - back);
}

function saysWhy(said: readonly Said[], why: RegExp): void {
  const refused = errors(said).find(({ code }) => code === 'CIRCUIT_OPEN');
  assert.match(String(refused?.message), why);
  assert.match(String(refused?.message), /the circuit breaker is open/);
  assert.match(String(refused?.cause), why);
  const warning = said.find(
    ({ log, message }) => log === 'warn' && /the circuit breaker is open/.test(String(message)),
  );
  assert.match(String(warning?.message), why);
}

/** Until the test ends them. */
const WRITES = { writeForMs: 600_000, pauseMs: 50 } as const;

describeWith(['redis', 'ownMongo'], 'a server that comes back', () => {
  const writers = (redis: Server, mongo: Server, t: TestContext) => {
    // A MongoDB that is away is looked for as long as that allows; five failures open the breaker.
    const resilience = { operationTimeout: 1_500 };
    const options = (own: object) => ({ sessionId: 's', ...own });
    return {
      shared: startWriter(t, {
        hook: 'useRedisAuthState',
        options: options({ exclusive: false, redis: { redisUrl: redis.url, prefix: 'shared' } }),
        ...WRITES,
      }),
      longLease: startWriter(t, {
        hook: 'useRedisAuthState',
        options: options({ ttl: { lockTtl: 300 }, redis: { redisUrl: redis.url, prefix: 'long' } }),
        ...WRITES,
      }),
      mongo: startWriter(t, {
        hook: 'useMongoAuthState',
        options: options({
          exclusive: false,
          resilience,
          mongodb: { mongoUrl: mongo.url, databaseName: 'alone' },
        }),
        ...WRITES,
      }),
      hybrid: startWriter(t, {
        hook: 'useHybridAuthState',
        options: options({
          exclusive: false,
          resilience,
          hybrid: { redisUrl: redis.url, mongoUrl: mongo.url, mongoDatabase: 'hybrid' },
        }),
        ...WRITES,
      }),
    };
  };

  it('is written to soon, whatever leases there are, and the refusals said why', async (t) => {
    const [redis, mongo] = await Promise.all([startRedis({ persist: true }), startMongo()]);
    t.after(() => Promise.all([redis.stop(), mongo.stop()]));
    const { shared, longLease, mongo: alone, hybrid } = writers(redis, mongo, t);
    await Promise.all([shared, longLease, alone, hybrid].map(writes));

    const [first, second] = (await recovery(redis, shared, longLease)) as [number, number];
    assert.ok(first < SOON_MS, `exclusive: false: ${first} ms`);
    assert.ok(second < SOON_MS, `a long lease: ${second} ms`);
    const there = new RegExp(`127\\.0\\.0\\.1:${redis.port}.*refused`, 'i');
    saysWhy(shared.said, there);
    saysWhy(longLease.said, there);

    const [third] = (await recovery(mongo, alone)) as [number];
    assert.ok(third < SOON_MS, `MongoDB: ${third} ms`);
    saysWhy(alone.said, new RegExp(`127\\.0\\.0\\.1:${mongo.port}`));
    const back = Date.now();
    await writes(hybrid);
    assert.ok(Date.now() - back < SOON_MS, 'hybrid');
  });
});

describeWith('redis', 'a server that ends idle connections', () => {
  it('refuses no write', async (t) => {
    const redis = await startRedis({ config: { timeout: '1' } });
    t.after(() => redis.stop());
    const writer = startWriter(t, {
      hook: 'useRedisAuthState',
      options: { sessionId: 's', exclusive: false, redis: { redisUrl: redis.url } },
      writeForMs: 16_000,
      pauseMs: 2_500,
    });
    const said = await writer.ended;
    assert.deepEqual(errors(said), []);
    assert.ok(acks(said).length >= 5);
  });
});
