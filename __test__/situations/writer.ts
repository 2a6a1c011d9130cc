/** Runs `programs/writer.mjs` and reads what it says. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

export interface WriterTask {
  readonly hook: 'useRedisAuthState' | 'useMongoAuthState' | 'useHybridAuthState';
  readonly options: Readonly<Record<string, unknown>>;
  readonly records?: number;
  readonly recordBytes?: number;
  readonly writeForMs?: number;
  readonly pauseMs?: number;
  /** Of each of these writes. */
  readonly writtenBytes?: number;
}

/** One line of the program. */
export interface Said {
  readonly at: number;
  readonly log?: string;
  readonly message?: string;
  readonly opened?: true;
  readonly refused?: true;
  readonly ack?: true;
  readonly error?: true;
  readonly found?: number;
  readonly ms?: number;
  readonly code?: string;
  readonly retryable?: boolean;
  readonly cause?: string;
}

/** A program that runs; `said` grows. */
export interface Writer {
  readonly said: readonly Said[];
  readonly ended: Promise<readonly Said[]>;
  /** Ends it at once. */
  crash(): void;
}

export function startWriter(t: TestContext, task: WriterTask): Writer {
  const program = join(__dirname, 'programs', 'writer.mjs');
  const child = spawn(process.execPath, [program, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const said: Said[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => said.push(JSON.parse(line) as Said));
  const ended = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new Error(`the program ended with ${code}: ${JSON.stringify(said.slice(-20))}`);
    return said;
  });
  // Many are ended by their test, which then does not look.
  ended.catch(() => {});
  return { said, ended, crash: () => void child.kill('SIGKILL') };
}

export const runWriter = (t: TestContext, task: WriterTask): Promise<readonly Said[]> =>
  startWriter(t, task).ended;

/** How opening failed. Fails itself if it did not. */
export function refusalOf(said: readonly Said[]): Said {
  const refusal = said.find(({ refused }) => refused);
  if (refusal === undefined) throw new Error(`it was opened: ${JSON.stringify(said)}`);
  return refusal;
}
