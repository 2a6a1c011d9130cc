import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './ports';
import { disown, own, scratchDir } from './reaper';

/** How to run one kind of server. Called again for every start, so `arguments` may write config files. */
export interface ServerSpec {
  /** Short name for folders, logs and messages: `redis`, `mongo`. */
  readonly name: string;
  readonly command: string;
  readonly arguments: (at: { port: number; dir: string }) => readonly string[];
  /** Resolves to true when the server answers requests, to false when it does not yet. */
  readonly ready: (port: number) => Promise<boolean>;
  readonly url: (host: string, port: number) => string;
  /** Asks it to end without waiting for its clients. Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** Ports at these distances must be free as well. */
  readonly portOffsets?: readonly number[];
}

/** Where to run it. */
export interface ServerPlace {
  /** Data folder. Default: a scratch folder, removed when this process ends. A folder given here is kept. */
  readonly dir?: string;
  /** Default: a free one. */
  readonly port?: number;
}

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 10_000;
const PORT_TAKEN = /address already in use|bindexception/i;

class PortTaken extends Error {}

/** One server process that tests may stop, kill, pause and bring back on the same port. */
export class Server {
  readonly host = '127.0.0.1';
  readonly dir: string;
  readonly #spec: ServerSpec;
  readonly #port: number;
  readonly #logFile: string;
  #child: ChildProcess | undefined;
  #paused = false;

  private constructor(spec: ServerSpec, port: number, dir: string | undefined) {
    this.#spec = spec;
    this.#port = port;
    this.dir = dir ?? join(scratchDir(), `${spec.name}-${port}`);
    this.#logFile = join(scratchDir(), `${spec.name}-${port}.log`);
  }

  /** Starts a server and waits until it answers. Rejects with the end of its log if it does not. */
  static async start(spec: ServerSpec, place: ServerPlace = {}): Promise<Server> {
    for (let attempt = 0; ; attempt++) {
      const server = new Server(spec, place.port ?? (await freePort(spec.portOffsets)), place.dir);
      try {
        await server.#launch();
        return server;
      } catch (error) {
        // Somebody took the port between our look and the server's bind.
        if (!(error instanceof PortTaken) || place.port !== undefined || attempt === 5) throw error;
      }
    }
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return this.#spec.url(this.host, this.#port);
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Process id of the running server. Throws when it is down. */
  get pid(): number {
    return this.#running().pid as number;
  }

  /** What the server wrote to its output, over all its runs. */
  log(): string {
    return existsSync(this.#logFile) ? readFileSync(this.#logFile, 'utf8') : '';
  }

  /** Ends the server the hard way and waits until it is gone. The data stays. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.#end(this.#running(), signal);
  }

  /** Asks the server to shut down and waits until it is gone. The data stays; does nothing when it is down. */
  async stop(): Promise<void> {
    if (this.#child === undefined) return;
    if (this.#paused) this.resume();
    await this.#end(this.#child, this.#spec.stopSignal ?? 'SIGTERM');
  }

  /** Brings it up again on the same port: after `kill` or `stop`, or stopping it first. `wipe`: without its data. */
  async restart(options: { wipe?: boolean } = {}): Promise<void> {
    await this.stop();
    if (options.wipe === true) rmSync(this.dir, { recursive: true, force: true });
    await this.#launch();
  }

  /** Freezes the process: connections stay open, new ones are accepted by the kernel, nothing is answered. */
  pause(): void {
    this.#running().kill('SIGSTOP');
    this.#paused = true;
  }

  /** Ends `pause`. */
  resume(): void {
    this.#running().kill('SIGCONT');
    this.#paused = false;
  }

  #running(): ChildProcess {
    if (this.#child === undefined) throw new Error(`${this.#spec.name} on port ${this.#port} is not running`);
    return this.#child;
  }

  async #launch(): Promise<void> {
    mkdirSync(this.dir, { recursive: true });
    const log = openSync(this.#logFile, 'a');
    const logStart = this.log().length;
    const child = spawn(
      this.#spec.command,
      this.#spec.arguments({ port: this.#port, dir: this.dir }) as string[],
      {
        cwd: this.dir,
        // Files, not pipes: a pipe would keep this process alive, and a reader of our output waiting.
        stdio: ['ignore', log, log],
        // Ctrl-C in a terminal is for the tests; they end their servers themselves.
        detached: true,
      },
    );
    closeSync(log);
    child.unref();
    let failure: string | undefined;
    child.once('error', (error) => {
      failure = error.message;
    });
    const { pid } = child;
    if (pid !== undefined) {
      own(pid);
      this.#child = child;
      this.#paused = false;
      child.once('exit', (code, signal) => {
        disown(pid);
        failure ??= `exited with ${signal ?? code}`;
        if (this.#child === child) this.#child = undefined;
      });
    }

    const deadline = Date.now() + READY_TIMEOUT_MS;
    for (;;) {
      const ready = failure === undefined && (await this.#spec.ready(this.#port));
      if (failure !== undefined) break;
      if (ready) return;
      if (Date.now() > deadline) {
        await this.kill();
        failure = `did not answer within ${READY_TIMEOUT_MS} ms`;
        break;
      }
      await sleep(15);
    }
    const log_ = this.log().slice(logStart);
    const message = `${this.#spec.name} (${this.#spec.command}) on port ${this.#port} ${failure}\n${log_.slice(-2000)}`;
    throw PORT_TAKEN.test(log_) ? new PortTaken(message) : new Error(message);
  }

  async #end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    // The child is unreferenced; without this the event loop may run dry while we wait.
    child.ref();
    const gone = once(child, 'exit');
    child.kill(signal);
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(force);
  }
}
