import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { median, type Result } from '../support/measure.js';
import { CHILD, type Job } from './scale-job.js';

/** Handed over at a time. */
const AT_A_TIME = 32;

interface Answer {
  order: string;
  name?: string;
  /** When the order was begun and done, on the clock of the machine, ms. */
  from: number;
  to: number;
  failure?: string;
}

/** A process that opens and closes sessions as it is told. */
class Owner {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<string, (answer: Answer) => void>();

  constructor(job: Job & { writes: boolean }) {
    this.#child = fork(CHILD, [JSON.stringify({ ...job, handover: true })], { execArgv: ['--expose-gc'] });
    this.#child.on('message', (answer: Answer) => {
      this.#waiting.get(`${answer.order} ${answer.name}`)?.(answer);
    });
  }

  async order(order: 'open' | 'close' | 'end', name?: string): Promise<Answer> {
    const answered = new Promise<Answer>((resolve) => this.#waiting.set(`${order} ${name}`, resolve));
    this.#child.send({ order, name });
    const answer = await answered;
    if (answer.failure !== undefined) {
      throw new Error(`${order} of ${name} failed: ${answer.failure}`);
    }
    return answer;
  }

  async end(): Promise<void> {
    const gone = once(this.#child, 'exit');
    await this.order('end');
    await gone;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

async function eachOf(names: readonly string[], work: (name: string) => Promise<unknown>): Promise<void> {
  const waiting = [...names];
  const worker = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      await work(name);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

const nth = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** From the call of `close` in one process until `open` has resolved in the other, for each of so many sessions. */
export async function measureHandover(job: Job, sessions: number): Promise<Result[]> {
  const names = Array.from({ length: sessions }, (_, n) => `handover-${n}`);
  const old = new Owner({ ...job, writes: true });
  const young = new Owner({ ...job, writes: false });
  try {
    await eachOf(names, (name) => old.order('open', name));
    const told: number[] = [];
    await eachOf(names, async (name) => {
      const closed = await old.order('close', name);
      const opened = await young.order('open', name);
      told.push(opened.to - closed.from);
    });
    // Back again, and this time the successor is there before the owner goes.
    const waited: number[] = [];
    const opening = new Map(names.map((name) => [name, old.order('open', name)]));
    await eachOf(names, async (name) => {
      const closed = await young.order('close', name);
      const opened = (await opening.get(name)) as Answer;
      waited.push(opened.to - closed.from);
    });
    await Promise.all([old.end(), young.end()]);
    return [...summary('told to open then', told, job), ...summary('waiting already', waited, job)];
  } catch (error) {
    old.kill();
    young.kill();
    throw error;
  }
}

function summary(successor: string, samples: readonly number[], { mode }: Job): Result[] {
  const sorted = [...samples].sort((a, b) => a - b);
  const of = (name: string, value: number): Result => ({
    scenario: 'scale',
    case: `handing ${sorted.length.toLocaleString('en')} over, ${AT_A_TIME} at a time, successor ${successor}: without an owner, ${name}`,
    contender: mode,
    unit: 'ms',
    median: value,
    samples: sorted,
  });
  return [of('median', median(sorted)), of('99th percentile', nth(sorted, 0.99))];
}
