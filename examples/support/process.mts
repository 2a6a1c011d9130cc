/** A bot in a child process, as its parent sees it. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { BotCommand, BotReport } from './ipc.mjs';

type Reported = BotReport & { at: number };
type Of<T extends BotReport['type']> = Extract<Reported, { type: T }>;

const STDERR_KEPT = 4000;

export class BotProcess {
  /** Everything the bot reported, with the time (`performance.now()`) it arrived here. */
  readonly events: Reported[] = [];
  readonly startedAt = performance.now();
  private readonly child: ChildProcess;
  private readonly watchers = new Set<(news?: Reported) => void>();
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
      const news = { ...event, at: performance.now() };
      this.events.push(news);
      this.wake(news);
    });
    this.child.on('exit', () => this.wake());
  }

  /** Something was reported, or the process ended. */
  private wake(news?: Reported): void {
    for (const watcher of [...this.watchers]) watcher(news);
  }

  get running(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  seen<T extends BotReport['type']>(type: T | T[], test?: (event: Of<T>) => boolean): Of<T>[] {
    const types: string[] = [type].flat();
    const ofType = this.events.filter((event) => types.includes(event.type)) as Of<T>[];
    return test ? ofType.filter(test) : ofType;
  }

  /** The first such event, past or to come; rejects after `timeoutMs`, or when the process is gone. */
  async waitFor<T extends BotReport['type']>(
    type: T | T[],
    timeoutMs: number,
    test?: (event: Of<T>) => boolean,
  ): Promise<Of<T>> {
    const types: string[] = [type].flat();
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.watchers.delete(watch);
        act();
      };
      const watch = (news?: Reported) => {
        const event = news as Of<T> | undefined;
        if (event && types.includes(event.type) && (!test || test(event))) settle(() => resolve(event));
        else if (!this.running) settle(() => reject(this.failure(`ended before '${types}'`)));
      };
      const timer = setTimeout(
        () => settle(() => reject(this.failure(`gave no '${types}' within ${timeoutMs} ms`))),
        timeoutMs,
      );
      this.watchers.add(watch);
      watch(this.seen(type, test)[0]);
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
    const outcome = await this.waitFor(['sent', 'send-failed'], timeoutMs, (event) => event.id === id);
    if (outcome.type === 'send-failed') throw this.failure(`could not send ${id}: ${outcome.reason}`);
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
