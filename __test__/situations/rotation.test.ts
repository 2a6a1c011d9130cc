/** A master key that is older than `keyRotationDays`, in a process that runs for long and in one that has just begun. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { useMultiFileAuthState, useRedisAuthState } from '../../lib/index.js';
import { describeWith, sharedRedis } from '../support/services.js';
import { makeFolder } from './support.js';

const DAY = 24 * 60 * 60 * 1000;

for (const [keyRotationDays, warnings] of [
  [90, 1],
  [0, 0],
] as const) {
  test(`${keyRotationDays} days: it warns ${warnings} times that the key should be rotated`, async (t) => {
    const said: string[] = [];
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const { saveCreds, store } = await useMultiFileAuthState(await makeFolder(t), {
      masterKey: Buffer.alloc(32, 7),
      security: { keyRotationDays },
      logger: {
        debug() {},
        info() {},
        warn: (...parts: unknown[]) => said.push(JSON.stringify(parts)),
        error() {},
      },
    });
    t.after(() => store.close());
    await saveCreds();
    t.mock.timers.tick(89 * DAY);
    await saveCreds();
    assert.deepEqual(said, []);
    t.mock.timers.tick(2 * DAY);
    await saveCreds();
    await saveCreds();
    assert.equal(said.length, warnings, said.join('\n'));
    for (const warning of said) assert.match(warning, /rotat/);
  });
}

const KEYS = { first: Buffer.alloc(32, 7), second: Buffer.alloc(32, 8) };

/** What a bot says that opens, saves and ends, so many days from now. */
async function run(
  t: TestContext,
  days: number,
  open: (options: object) => ReturnType<typeof useMultiFileAuthState>,
  options: object,
): Promise<string[]> {
  const said: string[] = [];
  t.mock.timers.reset();
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + days * DAY });
  const { saveCreds, store } = await open({
    security: { keyRotationDays: 90 },
    logger: {
      debug() {},
      info() {},
      warn: (text: unknown) => said.push(String(text)),
      error() {},
    },
    ...options,
  });
  await saveCreds();
  // The storage is asked for the key's age, in two steps at most, before it is asked for all of these.
  for (let asked = 0; asked < 4; asked++) {
    await store.isHealthy();
  }
  await saveCreds();
  await store.close();
  return said.filter((text) => /rotat/.test(text));
}

const PLACES: Record<
  string,
  (t: TestContext) => Promise<(options: object) => ReturnType<typeof useMultiFileAuthState>>
> = {
  'in a folder': async (t) => {
    const folder = await makeFolder(t);
    return (options) => useMultiFileAuthState(folder, options);
  },
  'in Redis': async () => {
    const [redisUrl, prefix] = [await sharedRedis(), `rotation-${process.pid}`];
    return (options) => useRedisAuthState({ sessionId: 's', redis: { redisUrl, prefix }, ...options });
  },
};

for (const [where, place] of Object.entries(PLACES)) {
  describeWith(where === 'in Redis' ? ['redis'] : [], where, () => {
    test('the age is that of the key, whichever process asks', async (t) => {
      const open = await place(t);
      const { first, second } = KEYS;
      assert.deepEqual(await run(t, 0, open, { masterKey: first }), []);
      assert.deepEqual(await run(t, 89, open, { masterKey: first }), []);
      assert.equal((await run(t, 91, open, { masterKey: first })).length, 1);
      // A new key is as old as the first day on which it was seen; a real day, for only this process thinks it is later.
      const both = { masterKey: second, previousMasterKeys: [first] };
      assert.deepEqual(await run(t, 0, open, both), []);
      assert.equal((await run(t, 91, open, both)).length, 1);
      assert.deepEqual(await run(t, 91, open, { ...both, security: { keyRotationDays: 0 } }), []);
      assert.deepEqual(await run(t, 91, open, { ...both, security: { keyRotationDays: 365 } }), []);
    });
  });
}
