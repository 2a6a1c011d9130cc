/** A bot in a child process, as its parent sees it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { BotCommand, BotReport } from './ipc.mjs';

type Of<T extends BotReport['type']> = Extract<BotReport, { type: T }>;

const STDERR_KEPT = 4000;

export class BotProcess {
  /** Everything the bot reported, with the time (`performance.now()`) it arrived here. */
  readonly events: (BotReport & { at: number })[] = [];
  readonly startedAt = performance.now();
  private readonly child: ChildProcess;
  private readonly watchers = new Set<() => void>();
  private stderr = '';
  private expectedToExit = false;

  /** Starts `script` under tsx with `env` on top of this process's environment. */
  constructor(
    readonly name: string,
    script: string,
    env: Record<string, string>,
  ) {
    this.child = fork(script, [], {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, ...env },
      // libsignal prints whole sessions to stdout.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr = (this.stderr + chunk).slice(-STDERR_KEPT);
    });
    this.child.on('message', (event: BotReport) => {
      this.events.push({ ...event, at: performance.now() });
      this.wake();
    });
    this.child.on('exit', () => this.wake());
  }

  private wake(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  seen<T extends BotReport['type']>(
    type: T,
    test: (event: Of<T>) => boolean = () => true,
  ): (Of<T> & { at: number })[] {
    const ofType = this.events.filter((event) => event.type === type);
    return (ofType as unknown as (Of<T> & { at: number })[]).filter(test);
  }

  /** The first such event, past or to come; rejects after `timeoutMs`, or when the process dies unasked. */
  async waitFor<T extends BotReport['type']>(
    type: T,
    timeoutMs: number,
    test?: (event: Of<T>) => boolean,
  ): Promise<Of<T> & { at: number }> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.watchers.delete(check);
        act();
      };
      const check = () => {
        const [event] = this.seen(type, test);
        if (event) settle(() => resolve(event));
        else if (!this.running) settle(() => reject(this.failure(`ended before '${type}'`)));
      };
      const timer = setTimeout(
        () => settle(() => reject(this.failure(`gave no '${type}' within ${timeoutMs} ms`))),
        timeoutMs,
      );
      this.watchers.add(check);
      check();
    });
  }

  private failure(what: string): Error {
    const last = this.events.slice(-5).map(({ at, ...event }) => JSON.stringify(event));
    const died = this.running || this.expectedToExit ? '' : `\nits errors: ${this.stderr}`;
    return new Error(`bot ${this.name} ${what}; it last said: ${last.join(' ')}${died}`);
  }

  command(command: BotCommand): void {
    // A child that was just killed cannot be told anything any more.
    if (this.child.connected) this.child.send(command, () => undefined);
  }

  /** Sends a text and waits until the bot has stored what sending changed. */
  async send(to: string, text: string, id: string, timeoutMs: number): Promise<void> {
    this.command({ command: 'send', to, text, id });
    await this.waitFor('sent', timeoutMs, (event) => event.id === id);
  }

  /** SIGKILL: no handler runs, nothing is flushed. */
  async kill(): Promise<void> {
    await this.end(() => this.child.kill('SIGKILL'));
  }

  /** Asks the bot to close its socket and its store; kills it when it does not within `timeoutMs`. */
  async close(timeoutMs = 15_000): Promise<void> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs);
    await this.end(() => this.command({ command: 'close' }));
    clearTimeout(timer);
  }

  private async end(ask: () => void): Promise<void> {
    this.expectedToExit = true;
    if (!this.running) return;
    const exited = once(this.child, 'exit');
    ask();
    await exited;
  }
}
