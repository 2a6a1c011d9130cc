/** Stores with different master keys over the same sessions, in one process. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { makeFolder, runProgram } from './support';

describe('a store with another master key', () => {
  it('sees and changes nothing of a session in use, and can delete one whose key is lost', async (t) => {
    const { stdout, stderr, ...end } = await runProgram(t, 'keys.mjs', await makeFolder(t));
    assert.deepEqual(end, { code: 0, signal: null }, stderr);
    assert.equal(stdout, 'refused\n');
  });
});
