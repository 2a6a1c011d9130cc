import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { makeFolder, type Session } from '../support/contenders.js';
import { median, type Result } from '../support/measure.js';
import type { Patch } from '../support/packages.js';
import type { Records } from '../support/records.js';
import type { Scenario } from './scenario.js';

/** Calls of `set` under way at a time. */
const IN_FLIGHT = 64;
const SETS = 4_000;
const QUICK_SETS = 1_000;

const LOOP_CASE = 'event-loop time per set';
const FIGURES = [
  { name: 'sets per second', unit: '1/s' },
  { name: LOOP_CASE, unit: 'µs' },
  { name: 'event-loop delay, 99th percentile', unit: 'ms' },
  { name: 'event-loop delay, longest', unit: 'ms' },
] as const;

/** Many sets at once, and what they leave of the event loop for everything else. */
export const storm: Scenario = {
  id: 'storm',
  title: `${IN_FLIGHT} sets of 1 record under way at a time`,
  run: async ({ contenders, records, effort, quick, progress }) => {
    const { folder, remove } = await makeFolder();
    const open: { name: string; session: Session; samples: number[][] }[] = [];
    try {
      for (const { name, open: start } of contenders) {
        open.push({ name, session: await start(join(folder, name)), samples: FIGURES.map(() => []) });
      }
      // One round more than counts: the first warms up.
      for (let round = 0; round <= effort.rounds; round++) {
        progress(`set storm, round ${round}`);
        for (const { session, samples } of open) {
          const figures = await measure(session, records, quick ? QUICK_SETS : SETS);
          if (round > 0) {
            for (const [index, figure] of figures.entries()) {
              samples[index]?.push(figure);
            }
          }
        }
      }
      return FIGURES.flatMap(({ name, unit }, index) =>
        open.map(({ name: contender, samples }): Result => {
          const own = samples[index] ?? [];
          return { scenario: 'storm', case: name, contender, unit, median: median(own), samples: own };
        }),
      );
    } finally {
      await Promise.all(open.map(({ session }) => session.close()));
      await remove();
    }
  },
};

async function measure({ keys }: Session, { one }: Records, sets: number): Promise<number[]> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const loop = performance.eventLoopUtilization();
  const start = performance.now();
  let next = 0;
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (next < sets) {
        next += 1;
        await keys.set(one[next % one.length] as Patch);
      }
    }),
  );
  const took = performance.now() - start;
  const { active } = performance.eventLoopUtilization(loop);
  // One more turn, so that a delay which is not over yet is counted.
  await new Promise((resolve) => setTimeout(resolve, 5));
  delay.disable();
  return [(sets / took) * 1_000, (active / sets) * 1_000, delay.percentile(99) / 1e6, delay.max / 1e6];
}
