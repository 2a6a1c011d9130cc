/** Interleaved rounds: what happens to the machine meanwhile happens to all alike. */

/** Something that is measured beside others. */
export interface Subject {
  contender: string;
  /** Does the work `count` times, one after the other. */
  work(count: number): Promise<unknown>;
  /** Runs before each round, outside of the measured time. */
  reset?(): Promise<unknown>;
}

export interface Result {
  scenario: string;
  /** What was done, e.g. `get, 1,000 keys stored`. */
  case: string;
  contender: string;
  unit: 'µs' | 'ms' | 'KiB' | '1/s';
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
  return performance.now() - start;
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

/** Milliseconds per unit of work, for each subject, of all rounds. */
export async function interleave(
  subjects: readonly Subject[],
  effort: Effort,
): Promise<Map<string, number[]>> {
  const counts = new Map<Subject, number>();
  for (const subject of subjects) {
    counts.set(subject, await calibrate(subject, effort.budgetMs));
  }
  const samples = new Map<string, number[]>(subjects.map(({ contender }) => [contender, []]));
  for (let round = 0; round < effort.rounds; round++) {
    // Each is first in its turn.
    for (let index = 0; index < subjects.length; index++) {
      const subject = subjects[(index + round) % subjects.length] as Subject;
      const count = counts.get(subject) as number;
      samples.get(subject.contender)?.push((await timed(subject, count)) / count);
    }
  }
  return samples;
}

/** The results of a case that was measured in milliseconds. */
export function resultsOf(
  scenario: string,
  name: string,
  unit: 'µs' | 'ms',
  samples: ReadonlyMap<string, number[]>,
): Result[] {
  const factor = unit === 'µs' ? 1_000 : 1;
  return [...samples].map(([contender, times]) => {
    const scaled = times.map((time) => time * factor);
    return { scenario, case: name, contender, unit, median: median(scaled), samples: scaled };
  });
}
