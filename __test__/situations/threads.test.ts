/**
 * Programs that load the addon in worker threads first, which may end before others use it. Each is a process of its
 * own: whoever loaded the addon before would hide what goes wrong.
 */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { makeFolder, runNode, runProgram } from './support';

async function isWhole(t: TestContext, part: string): Promise<void> {
  const { stdout, stderr, ...end } = await runProgram(t, 'threads.mjs', part, await makeFolder(t));
  assert.deepEqual(end, { code: 0, signal: null }, stderr);
  assert.equal(stdout, 'whole\n');
}

describe('a worker thread that loads the addon first', () => {
  it('is followed by others that work on where it ended, and by the main thread', (t) =>
    isWhole(t, 'one-after-another'));

  it('may be terminated beside a sibling that goes on', (t) => isWhole(t, 'first-terminated'));

  it('may be one of forty that start at once', (t) => isWhole(t, 'forty-at-once'));

  it('may be terminated in the middle of its writes, over and over', (t) => isWhole(t, 'ended-in-mid-write'));
});

const light = JSON.stringify(join(__dirname, '..', 'crash', 'light.mjs'));

const spec = (name: string): string => `
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { folderSealed } from ${light};

it('writes and reads', async () => {
  const { state, store } = await folderSealed(join(import.meta.dirname, ${JSON.stringify(name)}));
  for (let n = 0; n < 20; n++) {
    await state.keys.set({ session: { [n]: { n } } });
  }
  expect(await state.keys.get('session', ['7'])).toEqual({ 7: { n: 7 } });
  await store.close();
});
`;

describe("vitest's thread pool", () => {
  it('runs file after file, each in a thread that loads the addon anew', async (t) => {
    const folder = await makeFolder(t);
    const files = Array.from({ length: 5 }, (_, n) => `bot-${n}`);
    for (const name of files) {
      await mkdir(join(folder, name));
      await writeFile(join(folder, `${name}.test.mjs`), spec(name));
    }
    const vitest = join(__dirname, '..', '..', 'node_modules', 'vitest', 'vitest.mjs');
    // Its own `import` of the package under test must be the real one, as for any dependency.
    const config = `export default { test: { pool: 'threads', poolOptions: { threads: { maxThreads: 2, minThreads: 1 } } } };`;
    await writeFile(join(folder, 'vitest.config.mjs'), config);
    const ended = await runNode(t, [vitest, 'run', '--root', folder], { cwd: folder });
    assert.deepEqual(
      { code: ended.code, signal: ended.signal },
      { code: 0, signal: null },
      ended.stdout + ended.stderr,
    );
    // It colours what it says where `CI` is set.
    assert.match(stripVTControlCharacters(ended.stdout), /Tests\s+5 passed/);
  });
});
