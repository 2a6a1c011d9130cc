import { CliError, EXIT, exitCodeOf } from './errors.js';
import type { Output } from './output.js';
import type { Progress } from './progress.js';
import { describe } from './report.js';
import type { Style } from './style.js';

/** Sessions under way at a time unless `--jobs` says otherwise; that many are in memory. */
export const DEFAULT_JOBS = 4;

/** A session of which something was not done, and why. */
export interface NotDone {
  sessionId: string;
  code: string;
  message: string;
}

interface Work {
  sessions: readonly string[];
  jobs?: number | undefined;
  /** What is done, for the progress bar: `copying`. */
  doing: string;
  /** Moved by the work itself, in place of a bar that counts sessions. */
  progress?: Progress | undefined;
  output: Output;
  signal: AbortSignal;
}

export interface Outcome {
  notDone: NotDone[];
  /** Not begun, because the command was interrupted. */
  left: number;
}

/** Does something for every session, several at a time. One that fails is noted and holds up no other. */
export async function eachSession(
  { sessions, jobs = DEFAULT_JOBS, doing, progress: own, output, signal }: Work,
  work: (sessionId: string) => Promise<void>,
): Promise<Outcome> {
  const notDone: NotDone[] = [];
  const queue = sessions.values();
  let done = 0;
  const progress = own ?? output.progress(doing, sessions.length);
  const worker = async (): Promise<void> => {
    while (!signal.aborted) {
      const { value: sessionId, done: isOver } = queue.next();
      if (isOver) {
        return;
      }
      try {
        await work(sessionId);
      } catch (error) {
        const { code, message } = describe(error);
        notDone.push({ sessionId, code, message });
      }
      done += 1;
      if (own === undefined) {
        progress.step();
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: jobs }, worker));
  } finally {
    progress.end();
  }
  notDone.sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
  return { notDone, left: sessions.length - done };
}

/** A line for each, in red. */
export const notDoneLines = (what: string, notDone: readonly NotDone[], style: Style): string[] =>
  notDone.map(
    ({ sessionId, code, message }) =>
      `${style('red', `${what}:`)} ${JSON.stringify(sessionId)}: ${message} ${style('dim', `(${code})`)}`,
  );

/** Of one session that was asked for, its own; of several, that some are missing. */
export function exitCodeOfAll({ notDone }: Outcome, asked: number): number {
  const [first] = notDone;
  if (first === undefined) {
    return EXIT.ok;
  }
  return asked === 1 ? exitCodeOf(new CliError(first.code, first.message)) : EXIT.partly;
}

export const leftLine = ({ left }: Outcome): string[] =>
  left > 0 ? [`${left} left: the same command goes on there`] : [];
