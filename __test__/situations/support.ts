/** What the files of this folder share: programs as a user would start them, in processes and folders of their own. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A folder that is removed after the test. */
export async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'vault-situation-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** How a program ended, and all that it said. */
export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

interface Options {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
}

/** Runs Node with these arguments to its end. */
export async function runNode(
  t: TestContext,
  args: readonly string[],
  options: Options = {},
): Promise<Ended> {
  const { child, ended } = startNode(t, args, options);
  child.stdin.end();
  return await ended;
}

/** A program under way. */
export interface Started {
  child: ChildProcessWithoutNullStreams;
  ended: Promise<Ended>;
  /** Resolves once it has said `line`; rejects when it ends without. */
  says(line: string): Promise<void>;
}

/** Starts Node with these arguments. */
export function startNode(t: TestContext, args: readonly string[], options: Options = {}): Started {
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  // A program that has ended hears no more.
  child.stdin.on('error', () => {});
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  }
  t.after(() => child.kill('SIGKILL'));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, ...said }));
  });
  const says = (line: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (said.stdout.split('\n').slice(0, -1).includes(line)) {
          resolve();
        }
      };
      child.stdout.on('data', look);
      look();
      ended.then(
        ({ stdout, stderr }) => reject(new Error(`never said "${line}": ${stdout}${stderr}`)),
        reject,
      );
    });
  return { child, ended, says };
}

/** Starts a program of `programs/`. */
export const startProgram = (t: TestContext, name: string, ...args: string[]): Started =>
  startNode(t, [join(__dirname, 'programs', name), ...args]);

/** Runs a program of `programs/` to its end. */
export const runProgram = (t: TestContext, name: string, ...args: string[]): Promise<Ended> =>
  runNode(t, [join(__dirname, 'programs', name), ...args]);
