import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { makeFolder } from '../support/contenders.js';
import { median, type Result } from '../support/measure.js';
import type { Scenario } from './scenario.js';

const SESSIONS = 2_000;
const ROUNDS = 3;

export const CORE_CASE = 'memory of an open idle session outside of the JS heap';
const HEAP_CASE = 'memory of an open idle session on the JS heap';

/** How sessions are opened: each name is a mode of `memory-child.mjs`. */
const MODES = [
  { mode: 'sessions', contender: 'vault' },
  { mode: 'hooks', contender: 'vault, a hook each' },
] as const;

interface Figures {
  coreBytes: number;
  heapBytes: number;
}

/** What each further session costs in one store, its records aside. Measured in processes of their own. */
export const memory: Scenario = {
  id: 'memory',
  title: `Memory, ${SESSIONS.toLocaleString('en')} sessions in one store`,
  run: async ({ quick, progress }) => {
    const results: Result[] = [];
    for (const { mode, contender } of MODES) {
      const measured: Figures[] = [];
      for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
        progress(`memory, ${contender}`);
        measured.push(await measure(mode));
      }
      const of = (name: string, pick: (figures: Figures) => number): Result => {
        const samples = measured.map((figures) => pick(figures) / 1_024);
        return { scenario: 'memory', case: name, contender, unit: 'KiB', median: median(samples), samples };
      };
      results.push(
        of(CORE_CASE, ({ coreBytes }) => coreBytes),
        of(HEAP_CASE, ({ heapBytes }) => heapBytes),
      );
    }
    return results;
  },
};

async function measure(mode: string): Promise<Figures> {
  const { folder, remove } = await makeFolder();
  try {
    const child = join(__dirname, 'memory-child.mjs');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--expose-gc', child, mode, folder, `${SESSIONS}`],
      { encoding: 'utf8' },
    );
    if (status !== 0) {
      throw new Error(`the measuring process failed: ${stderr}`);
    }
    return JSON.parse(stdout) as Figures;
  } finally {
    await remove();
  }
}
