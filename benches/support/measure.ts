/** Interleaved rounds: what happens to the machine meanwhile happens to all alike. */

/** Something that is measured beside others. */
export interface Subject {
  contender: string;
  /** Does the work `count` times, one after the other. */
  work(count: number): Promise<unknown>;
  /** Runs before each round, outside of the measured time. */
  reset?(): Promise<unknown>;
  /** Runs after each round, outside of the measured time: ends what would disturb the next subject. */
  settle?(): Promise<unknown>;
}

export interface Result {
  scenario: string;
  /** What was done, e.g. `get, 1,000 keys stored`. */
  case: string;
  contender: string;
  unit: 'µs' | 'ms' | 'KiB' | '1/s' | 'count';
  median: number;
  samples: number[];
}

export interface Effort {
  rounds: number;
  /** Milliseconds that one subject works in one round, about. */
  budgetMs: number;
}

const WARM_UP = 3;

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

async function timed(subject: Subject, count: number): Promise<number> {
  await subject.reset?.();
  const start = performance.now();
  await subject.work(count);
  const took = performance.now() - start;
  await subject.settle?.();
  return took;
}

/** How often a subject has to work to fill the budget. */
async function calibrate(subject: Subject, budgetMs: number): Promise<number> {
  let count = 1;
  for (let step = 0; step < WARM_UP || count < 2; step++) {
    const took = await timed(subject, count);
    const wanted = Math.max(1, Math.round((count * budgetMs) / Math.max(took, 0.001)));
    if (wanted === count || step > 8) {
      break;
    }
    // Not all at once: the first times say little.
    count = Math.min(wanted, count * 50);
  }
  return count;
}

/** Awaits `call` as often as a round asks for. */
export const repeated =
  (call: (turn: number) => Promise<unknown>): Subject['work'] =>
  async (count) => {
    for (let turn = 0; turn < count; turn++) {
      await call(turn);
    }
  };

/** Milliseconds per unit of work, of all rounds, for each subject. */
export async function interleave<S extends Subject>(
  subjects: readonly S[],
  effort: Effort,
): Promise<{ subject: S; samples: number[] }[]> {
  const measured: { subject: S; count: number; samples: number[] }[] = [];
  for (const subject of subjects) {
    measured.push({ subject, count: await calibrate(subject, effort.budgetMs), samples: [] });
  }
  for (let round = 0; round < effort.rounds; round++) {
    // Each is first in its turn.
    for (let index = 0; index < measured.length; index++) {
      const { subject, count, samples } = measured[(index + round) % measured.length] as (typeof measured)[0];
      samples.push((await timed(subject, count)) / count);
    }
  }
  return measured;
}

/** A result that was measured in milliseconds. */
export function resultOf(
  scenario: string,
  name: string,
  contender: string,
  unit: 'µs' | 'ms',
  times: readonly number[],
): Result {
  const samples = times.map((time) => time * (unit === 'µs' ? 1_000 : 1));
  return { scenario, case: name, contender, unit, median: median(samples), samples };
}
