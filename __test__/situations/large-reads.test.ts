/** A server that ends connections whose answers are too large for it: what is stored can be read nevertheless. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import Redis from 'ioredis';
import { describeWith, type Server, startMongo, startRedis, until } from '../support/services';
import { runWriter, startWriter, type WriterTask } from './writer';

const RECORDS = 200;

async function startSmall(t: TestContext): Promise<Server> {
  const redis = await startRedis({ config: { 'client-output-buffer-limit': 'normal 1mb 0 0' } });
  t.after(() => redis.stop());
  return redis;
}

/** Fails unless a program finds all that it wrote, is told which setting is too low, and is cut off seldom. */
async function findsAll(t: TestContext, redis: Server, task: Omit<WriterTask, 'records'>): Promise<void> {
  const client = new Redis(redis.url, { lazyConnect: true });
  t.after(() => client.disconnect());
  // The server ends before it does.
  client.on('error', () => {});
  await client.connect();
  const said = await runWriter(t, { ...task, records: RECORDS, recordBytes: 30_000 });
  assert.deepEqual(
    said.filter(({ found }) => found !== undefined).map(({ found }) => found),
    [RECORDS, RECORDS, RECORDS],
    JSON.stringify(said.filter(({ error }) => error)),
  );
  const warnings = said.filter(({ log }) => log === 'warn').map(({ message }) => message);
  assert.match(warnings.join('\n'), /client-output-buffer-limit/);
  const [, received] = /total_connections_received:(\d+)/.exec(await client.info('stats')) ?? [];
  // Ours, the one that waited for the server, and those of the program: the first, and one for each halving.
  assert.ok(Number(received) <= 7, `${received} connections`);
}

describeWith('redis', 'a Redis with a small client-output-buffer-limit', () => {
  it('gives many large records, and cuts nobody off once that is known', async (t) => {
    const redis = await startSmall(t);
    await findsAll(t, redis, {
      hook: 'useRedisAuthState',
      options: { sessionId: 's', cacheBytes: 0, redis: { redisUrl: redis.url } },
    });
  });
});

describeWith(['redis', 'ownMongo'], 'such a Redis in front of MongoDB', () => {
  for (const enableWriteBehind of [false, true]) {
    it(`gives them likewise, ${enableWriteBehind ? 'write-behind' : 'write-through'}`, async (t) => {
      const [redis, mongo] = await Promise.all([startSmall(t), startMongo()]);
      t.after(() => mongo.stop());
      await findsAll(t, redis, {
        hook: 'useHybridAuthState',
        options: {
          sessionId: 's',
          cacheBytes: 0,
          hybrid: { redisUrl: redis.url, mongoUrl: mongo.url, mongoDatabase: 'large', enableWriteBehind },
        },
      });
    });
  }

  it('gives what an owner that died has left in its outbox', async (t) => {
    const [redis, mongo] = await Promise.all([startSmall(t), startMongo()]);
    t.after(() => mongo.stop());
    const task = {
      hook: 'useHybridAuthState',
      options: {
        sessionId: 's',
        cacheBytes: 0,
        hybrid: {
          redisUrl: redis.url,
          mongoUrl: mongo.url,
          mongoDatabase: 'outbox',
          enableWriteBehind: true,
        },
      },
    } as const;
    const owner = startWriter(t, { ...task, writeForMs: 600_000, pauseMs: 10, writtenBytes: 30_000 });
    const acknowledged = (): number => owner.said.filter(({ ack }) => ack).length;
    await until('it writes', async () => acknowledged() > 0);
    await mongo.kill();
    await until('the outbox is large', async () => acknowledged() > 150);
    owner.crash();
    await mongo.restart();
    const said = await runWriter(t, task);
    assert.ok(
      said.some(({ opened }) => opened),
      JSON.stringify(said),
    );
  });
});
