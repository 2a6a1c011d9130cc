import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

/** Loaded dynamically because it is an ES module. */
export const light = (): Promise<typeof import('./light.mjs', { with: { 'resolution-mode': 'import' }})> =>
  import('./light.mjs');

/** A folder that is removed after the test. */
export async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'vault-crash-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Name and SHA-256 of every file below `folder`; of a folder, its name alone. */
export async function fingerprint(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    const path = join(folder, name);
    found[name] = (await stat(path)).isDirectory()
      ? 'folder'
      : createHash('sha256')
          .update(await readFile(path))
          .digest('hex');
  }
  return found;
}

/** A process running a program. */
export class Program {
  readonly process: ChildProcess;
  readonly closed: Promise<[code: number | null, signal: NodeJS.Signals | null]>;
  private readonly lines: AsyncIterator<string>;
  private errors = '';

  constructor(t: TestContext, path: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    const child = spawn(process.execPath, [path, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env });
    this.process = child;
    this.closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    t.after(async () => {
      child.kill('SIGKILL');
      await this.closed;
    });
  }

  /** What the process says next; throws when it says nothing more. */
  async next(): Promise<string> {
    const { value, done } = await this.lines.next();
    if (done) {
      throw new Error(`the process ended without a word: ${this.errors}`);
    }
    return value;
  }

  /** Everything that the process still says, until it ends. */
  async rest(): Promise<string[]> {
    const said: string[] = [];
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) {
        return said;
      }
      said.push(value);
    }
  }

  tell(word: string): void {
    this.process.stdin?.write(`${word}\n`);
  }

  /** Ends the process as a crash would, and waits until it is gone. */
  async crash(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.closed;
  }

  /** How the process ended, with what it complained about. */
  async ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null; errors: string }> {
    const [code, signal] = await this.closed;
    return { code, signal, errors: this.errors };
  }
}

/** A process running one of the parts in `child.mjs`. */
export class Child extends Program {
  constructor(t: TestContext, part: string, ...args: string[]) {
    super(t, join(__dirname, 'child.mjs'), [part, ...args]);
  }
}
