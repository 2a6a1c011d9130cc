/** A server that is emptied while a bot runs: the bot never goes on with a new identity that nobody asked for. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { describeWith, startMongo, startRedis } from '../support/services';
import { runProgram } from './support';

async function keepsItsIdentity(t: TestContext, place: object): Promise<void> {
  const { stdout, stderr, ...end } = await runProgram(t, 'emptied.mjs', JSON.stringify(place));
  assert.deepEqual(end, { code: 0, signal: null }, stderr);
  assert.equal(stdout, 'kept\n');
}

describeWith('redis', 'a Redis emptied under a running bot', () => {
  it('is SESSION_LOST for every call until the session is deleted', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    await keepsItsIdentity(t, { mode: 'redis', redisUrl: redis.url });
  });
});

describeWith('mongo', 'a MongoDB emptied under a running bot', () => {
  it('is SESSION_LOST for every call until the session is deleted', async (t) => {
    const mongo = await startMongo();
    t.after(() => mongo.stop());
    await keepsItsIdentity(t, { mode: 'mongo', mongoUrl: mongo.url, database: 'emptied' });
  });
});
