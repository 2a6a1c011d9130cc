/** A server that ends connections whose answers are too large for it: what is stored can be read nevertheless. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import Redis from 'ioredis';
import { describeWith, startRedis } from '../support/services';
import { runWriter } from './writer';

const RECORDS = 200;

describeWith('redis', 'a Redis with a small client-output-buffer-limit', () => {
  it('gives many large records, and cuts nobody off once that is known', async (t) => {
    const redis = await startRedis({ config: { 'client-output-buffer-limit': 'normal 1mb 0 0' } });
    t.after(() => redis.stop());
    const client = new Redis(redis.url, { lazyConnect: true });
    t.after(() => client.disconnect());
    await client.connect();
    const said = await runWriter(t, {
      hook: 'useRedisAuthState',
      options: { sessionId: 's', cacheBytes: 0, redis: { redisUrl: redis.url } },
      records: RECORDS,
      recordBytes: 30_000,
    });
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
  });
});
