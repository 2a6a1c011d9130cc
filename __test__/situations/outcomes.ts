/** What came of calls to hooks that a program of its own made, and printed behind the word `OUTCOMES`. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { runNode } from './support.js';

const ROOT = join(__dirname, '..', '..');

export interface Outcome {
  /** `opened`, or the error's code. */
  outcome: string;
  field?: string;
  message?: string;
  retryable?: boolean;
  warnings: string[];
}

/** Runs `program`, an ES module. */
export async function outcomesOf(
  t: TestContext,
  program: string,
  env: NodeJS.ProcessEnv,
): Promise<Outcome[]> {
  const { code, stdout, stderr } = await runNode(t, ['--input-type=module', '-e', program], {
    cwd: ROOT,
    env: { ...process.env, ...env },
  });
  assert.equal(code, 0, stderr);
  return JSON.parse(/^OUTCOMES (.*)$/m.exec(stdout)?.[1] ?? 'null') as Outcome[];
}

/** Fails unless every call has opened its session. */
export function allOpened(outcomes: readonly Outcome[]): void {
  assert.deepEqual(
    outcomes.map(({ outcome, message }) => message ?? outcome),
    outcomes.map(() => 'opened'),
  );
}
