/** Stored bytes that would grow beyond measure when they are read. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { describeWith, startRedis } from '../support/services';
import { runNode } from './support';

/** What the process may grow by: some times what the largest record has, which is 8 MB. */
const LIMIT = 100 * 1024 * 1024;

describeWith('redis', 'records that grow when they are read', () => {
  it('are CORRUPT_RECORD before they take memory', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const program = join(__dirname, 'programs', 'bombs.mjs');
    const { stdout, stderr, ...end } = await runNode(t, ['--expose-gc', program, redis.url]);
    assert.deepEqual(end, { code: 0, signal: null }, stderr);
    assert.ok(Number(stdout) < LIMIT, `the process grew by ${stdout} bytes`);
  });
});
