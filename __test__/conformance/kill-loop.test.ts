/** The kill loop shows something however the dice fall. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';

const {
  killLoop,
}: typeof import('../../lib/conformance/kill-loop.js') = require('../../dist/conformance/kill-loop.js');
const {
  wrap,
}: typeof import('../../lib/conformance/workbench.js') = require('../../dist/conformance/workbench.js');

describe('the kill loop', () => {
  for (const kills of [1, 2]) {
    it(`has a patch acknowledged with ${kills} of the earliest kills there are`, async (t) => {
      const parent = await mkdtemp(join(tmpdir(), 'vault-kills-'));
      t.after(() => rm(parent, { recursive: true, force: true }));
      t.mock.method(Math, 'random', () => 0);
      const { folder } = await import('./factories.mjs');
      const location = join(parent, 'session');
      const { acknowledged, early } = await killLoop({
        module: join(__dirname, 'factories.mjs'),
        exportName: 'folder',
        location,
        depth: 1,
        kills,
        execArgv: [],
        open: async () => wrap(await folder(location)),
      });
      assert.ok(acknowledged > 0);
      assert.equal(early, kills - 1);
    });
  }
});
