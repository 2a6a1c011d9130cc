/** A process that writes to many sessions, and the look at what is left of its writes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Place } from './open.mjs' with { 'resolution-mode': 'import' };

/** Loaded dynamically because it is an ES module. */
export const opening = (): Promise<typeof import('./open.mjs', { with: { 'resolution-mode': 'import' }})> =>
  import('./open.mjs');

export interface LoadOptions {
  /** How many sessions, or their names. */
  readonly sessions: number | readonly string[];
  /** Between two writes of a session, in ms, on average. Default 250. */
  readonly pause?: number;
  /** How long the process waits for a session, in ms. Default 30,000. */
  readonly openTimeout?: number;
  /** Beside the variables of this process. */
  readonly env?: NodeJS.ProcessEnv;
}

interface Failure {
  readonly session: string;
  readonly seq: number;
  readonly name: string;
  readonly code: string;
}

/** In ms: for everything that has to happen some time, however busy the machine. */
const PATIENCE = 60_000;

let loads = 0;

export class Load {
  readonly sessions: readonly string[];
  readonly failures: Failure[] = [];
  /** Sessions whose lease the process heard was lost, and why. */
  readonly lost = new Map<string, string>();
  readonly deleted = new Map<string, string>();
  /** The longest time in ms that a write took, refused or not. */
  longestWait = 0;
  acknowledged = 0;
  readonly #secrets = new Map<string, string>();
  readonly #acknowledged = new Map<string, number[]>();
  readonly #child: ChildProcess;
  readonly #closed: Promise<unknown>;
  #complaint = '';
  #said: string[] = [];

  private constructor(
    readonly place: Place,
    { sessions, pause = 250, openTimeout = 30_000, env = {} }: LoadOptions,
  ) {
    const run = ++loads;
    this.sessions =
      typeof sessions === 'number'
        ? Array.from({ length: sessions }, (_, i) => `load-${process.pid}-${run}-${i}`)
        : sessions;
    const task = { place, sessions: this.sessions, pause, openTimeout };
    this.#child = spawn(process.execPath, [join(__dirname, 'child.mjs'), JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#closed = once(this.#child, 'close');
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text;
    });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) =>
      this.#hear(line.split(' ')),
    );
  }

  /** Starts the process and waits until every session was written to. */
  static async start(t: TestContext, place: Place, options: LoadOptions): Promise<Load> {
    const load = new Load(place, options);
    t.after(async () => {
      load.#child.kill('SIGKILL');
      await load.#closed;
    });
    await load.goesOn('it begins');
    return load;
  }

  /** Waits until every session, or each of those, acknowledged a write that began after now. */
  async goesOn(what = 'it goes on', sessions = this.sessions): Promise<void> {
    // One write may have been under way already.
    const marks = sessions.map((session) => (this.#last(session) ?? 0) + 2);
    await this.until(what, () =>
      sessions.every((session, i) => (this.#last(session) ?? 0) >= (marks[i] as number)),
    );
  }

  async until(what: string, isSo: () => boolean): Promise<void> {
    const deadline = Date.now() + PATIENCE;
    while (!isSo()) {
      assert.ok(this.#child.exitCode === null, `${what}: the process ended: ${this.#complaint}`);
      assert.ok(
        Date.now() < deadline,
        `${this.place.mode}, ${what}: not within ${PATIENCE} ms; last failures: ${JSON.stringify(this.failures.slice(-5))}`,
      );
      await sleep(20);
    }
  }

  /** How many failures there were of each code. */
  codes(from = 0): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { code } of this.failures.slice(from)) counts[code] = (counts[code] ?? 0) + 1;
    return counts;
  }

  /** Each failure is one of the package's own errors. */
  expectTyped(): void {
    const untyped = this.failures.filter(
      ({ name, code }) => !name.endsWith('Error') || code.startsWith('untyped'),
    );
    assert.deepEqual(untyped.slice(0, 3), []);
  }

  tell(word: 'stop' | 'delete'): void {
    this.#child.stdin?.write(`${word}\n`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Ends the process as a crash would. */
  async crash(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  /** Lets the process finish its writes, close and end; returns what closing complained about. */
  async stop(): Promise<string[]> {
    this.tell('stop');
    await this.#closed;
    assert.equal(this.#complaint, '');
    return this.#said.filter((line) => line.startsWith('close-error'));
  }

  /** Opens every session in this process: how many acknowledged writes are lost, all else being whole. */
  async countLost(place: Place = this.place): Promise<number> {
    const { openPatiently } = await opening();
    const counts = await Promise.all(
      this.sessions.map(async (session) => {
        const { state, store } = await openPatiently(place, session, { cacheBytes: 0 });
        try {
          assert.equal(state.creds.advSecretKey, this.#secrets.get(session), 'a new identity');
          const both = await state.keys.get('session', ['left', 'right']);
          const { left, right } = both as unknown as Record<string, { seq: number } | undefined>;
          assert.deepEqual(left, right, 'half a patch is there');
          const last = left?.seq ?? 0;
          const written = this.#acknowledged.get(session) ?? [];
          // Beyond the last one acknowledged there may be one whose answer was lost.
          const beyond = Array.from({ length: 3 }, (_, i) => last + 1 + i);
          const found = (await state.keys.get(
            'pre-key',
            [...written, last, ...beyond].map(String),
          )) as unknown as Record<string, { seq: number } | undefined>;
          assert.ok(found[last] !== undefined, 'half a patch is there');
          for (const seq of beyond) {
            // A patch that is there by its record alone would be half a patch.
            assert.equal(found[seq], undefined, 'half a patch is there');
          }
          return written.filter((seq) => found[seq]?.seq !== seq || seq > last).length;
        } finally {
          await store.close();
        }
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  #last(session: string): number | undefined {
    return this.#acknowledged.get(session)?.at(-1);
  }

  #hear([word, session = '', ...rest]: string[]): void {
    this.#said.push([word, session, ...rest].join(' '));
    switch (word) {
      case 'open':
        this.#secrets.set(session, rest[0] as string);
        this.#acknowledged.set(session, []);
        break;
      case 'ack':
        this.acknowledged++;
        this.#acknowledged.get(session)?.push(Number(rest[0]));
        this.longestWait = Math.max(this.longestWait, Number(rest[1]));
        break;
      case 'error':
        this.failures.push({
          session,
          seq: Number(rest[0]),
          name: rest[2] as string,
          code: rest.slice(3).join(' '),
        });
        this.longestWait = Math.max(this.longestWait, Number(rest[1]));
        break;
      case 'lost':
        this.lost.set(session, rest[0] as string);
        break;
      case 'deleted':
        this.deleted.set(session, rest[0] as string);
        break;
    }
  }
}
