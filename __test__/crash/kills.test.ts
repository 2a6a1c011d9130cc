/** Processes killed at random instants of their writing: nothing acknowledged is lost, nothing is there by half. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import type { AuthStateResult } from '../../lib/index.js';
import { light, makeFolder } from './support.js';

const {
  killLoop,
}: typeof import('../../lib/conformance/kill-loop.js') = require('../../dist/conformance/kill-loop.js');
const {
  wrap,
}: typeof import('../../lib/conformance/workbench.js') = require('../../dist/conformance/workbench.js');

const KILLS = 70;
/** Patches under way at a time: more than one, so that the core commits several together. */
const DEPTH = 4;

type Factory = 'folder' | 'folderSealed' | 'embedded';

async function survives(t: TestContext, exportName: Factory, sessionId: string): Promise<void> {
  const location = join(await makeFolder(t), sessionId);
  const { [exportName]: open } = await light();
  let store: AuthStateResult['store'] | undefined;
  let version = 0;
  let patches = 0;
  const { acknowledged, early } = await killLoop({
    module: join(__dirname, 'light.mjs'),
    exportName,
    location,
    depth: DEPTH,
    kills: KILLS,
    execArgv: [],
    open: async () => {
      // The dead need not be waited for.
      const opened = await open(location, { openTimeout: 0 });
      store = opened.store;
      return wrap(opened);
    },
    inspect: async ({ keys }) => {
      const found = await store?.get(sessionId);
      const { left } = (await keys.get('session', ['left'])) as { left?: { seq: number } };
      const now = left?.seq ?? 0;
      assert.ok(
        found && found.version >= version + (now - patches),
        `version ${found?.version} after version ${version} and ${now - patches} patches more`,
      );
      ({ version } = found);
      patches = now;
    },
  });
  assert.ok(acknowledged > KILLS, `${acknowledged} patches in ${KILLS} kills: the processes hardly wrote`);
  t.diagnostic(
    `${KILLS} kills, ${early} of them while opening; ${acknowledged} patches acknowledged, none lost`,
  );
}

// At once, because each spends most of its time waiting for processes to start.
describe('killed while writing', { concurrency: true }, () => {
  it('a folder of one session', (t) => survives(t, 'folder', 'default'));
  it('a sealed folder of one session', (t) => survives(t, 'folderSealed', 'default'));
  it('one store for all sessions', (t) => survives(t, 'embedded', 'session-1'));
});
