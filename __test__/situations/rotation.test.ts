/** A process that runs for longer than `keyRotationDays`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useMultiFileAuthState } from '../../lib/index.js';
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
