/** The methods of `store` called without a name, as a bot does that has one session. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createRedisStore, ValueError } from '../../lib/index.js';
import { describeWith, sharedRedis } from '../support/services.js';
import { makeFolder, runProgram } from './support.js';

const EXPECTED = {
  'exists before': false,
  'get before': null,
  'delete before': false,
  exists: true,
  get: { 'lid-mapping': { a: 'b' } },
  rotateKey: { resealed: 0, total: 2 },
  'delete of a name that is undefined': 'INVALID_VALUE sessionId',
  'delete of null': 'INVALID_VALUE sessionId',
  'delete of another': false,
  'still there': true,
  delete: true,
  'exists after': false,
  'delete again': false,
  'set after': 'SESSION_DELETED',
  'a new identity': true,
};

test('in a folder they mean its session', async (t) => {
  const folder = join(await makeFolder(t), 'auth');
  const { code, stdout, stderr } = await runProgram(t, 'own-session.mjs', JSON.stringify({ folder }));
  assert.equal(code, 0, stderr);
  assert.deepEqual(JSON.parse(stdout), EXPECTED);
});

describeWith(['redis'], 'in Redis', () => {
  test('they mean the session of the hook', async (t) => {
    const redisUrl = await sharedRedis();
    const task = { redisUrl, sessionId: `own-${process.pid}` };
    const { code, stdout, stderr } = await runProgram(t, 'own-session.mjs', JSON.stringify(task));
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), EXPECTED);
  });

  test('of a store without a hook they need a name', async (t) => {
    const store = await createRedisStore({ redisUrl: await sharedRedis() });
    t.after(() => store.close());
    const calls: (() => Promise<unknown>)[] = [
      () => store.get(),
      () => store.delete(),
      () => store.touch(),
      () => store.touch(undefined, 60),
      () => store.exists(),
      () => store.rotateKey(),
      () => store.set(undefined as never, {}),
    ];
    for (const call of calls) {
      await assert.rejects(call, (error) => error instanceof ValueError && error.path === 'sessionId');
    }
    assert.equal(await store.delete(`nobody-${process.pid}`), false);
    assert.equal(await store.touch(`nobody-${process.pid}`, 60), false);
  });
});
