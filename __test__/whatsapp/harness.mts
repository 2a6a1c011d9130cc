/**
 * Runs a conversation between bot A, whose auth store is under test, and bot B, in child processes,
 * and reports what happened.
 *
 * Messages alternate strictly, each one waited for: Baileys lets sending and decrypting in one chat
 * overlap, so simultaneous traffic loses session updates with any store that takes real time.
 */
import { fileURLToPath, pathToFileURL } from 'node:url';
import { BotProcess } from '../../examples/support/process.mjs';
import type { WhatsAppServer } from './api.mjs';
import { startWhatsAppServer } from './server.mjs';
import type { Stats } from './stats.mjs';

const CHILD = fileURLToPath(new URL('./bot-child.mts', import.meta.url));
const MEMORY = fileURLToPath(new URL('./auth/memory.mts', import.meta.url));

/** What a child process needs to know, in the environment variable `BOT_SETUP`. */
export interface ChildSetup {
  url: string;
  authModule: string;
  authOptions: unknown;
  alreadySent: [id: string, text: string][];
}

export interface AuthChoice {
  /** Path of a module whose default export is `async (options) => ({ state, saveCreds, close? })`. */
  module: string;
  /** Handed to it; must survive JSON. */
  options?: unknown;
}

export interface Between {
  /** The next message: even ones go from A to B, odd ones from B to A. */
  message: number;
  server: WhatsAppServer;
  /** Cuts A's connection and waits until it is back. */
  reconnect(): Promise<void>;
  /** SIGKILLs A. It is started again once `between` is over, or by `restart`. */
  kill(): Promise<void>;
  /** Lets A close its socket and store and exit. It is started again like after `kill`. */
  stop(): Promise<void>;
  /** Starts A again and waits until it has caught up. */
  restart(): Promise<void>;
  /** Sends from B now, outside the alternation, and does not wait for A: for a time when A is dead. */
  sendToA(text: string): Promise<void>;
}

export interface ExchangeOptions {
  /** The store under test. */
  authModule: string;
  authOptions?: unknown;
  /** The other side's store. Default: in memory. */
  peerAuth?: AuthChoice;
  /** How many messages the two exchange in turn, A first. */
  messages: number;
  /** Before these messages A is killed; see `killDelayMs`. */
  killAt?: number[];
  /**
   * How long after the sending of message `i` started A is killed. Undefined (default): before, so
   * that a message from B finds A dead.
   */
  killDelayMs?: (i: number) => number | undefined;
  /** Called while A is dead, before it is started again. */
  onKill?: (i: number) => Promise<void>;
  /** Called before each message: kill or restore servers here, or A itself. */
  between?: (context: Between) => Promise<void>;
  /** The server to talk through; it is left running. Default: one of its own, in this process. */
  server?: WhatsAppServer;
  /** Bound on every single wait: pairing, opening, a message's arrival. Default 60 s. */
  timeoutMs?: number;
}

export interface ExchangeReport {
  /** QR codes A showed, over all its lives: 1 when it was paired once. */
  qrs: number;
  /** Times A reached `open`. */
  opens: number;
  kills: number;
  /** Texts that reached the other side's application, by sender. */
  delivered: { fromA: number; fromB: number };
  /** Messages a bot failed to decrypt at first; Baileys asks for them again. */
  undecryptable: string[];
  /** Texts sent again by the application, because a kill or a failing store cut off the first attempt. */
  resent: string[];
  /** Acknowledged by A, but killed before its application saw them: a window in Baileys, not in stores. */
  crashWindow: string[];
  /** Never arrived for any other reason. */
  missing: string[];
  /** From the start of a process to `open`, one per restart. */
  restartMs: number[];
  /** From sending to the other side's application; messages around kills excluded. */
  deliveryMs: number[];
  stats: Stats & { queueDepth: Record<string, number> };
}

const DEFAULT_TIMEOUT_MS = 60_000;
const POLL_MS = 100;
/** With nothing queued at the server for this long, a message that has not arrived never will. */
const QUIET_MS = 3_000;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const userOf = (jid: string): string => jid.replace(/:\d+@/, '@');

export async function runExchange(options: ExchangeOptions): Promise<ExchangeReport> {
  const server = options.server ?? (await startWhatsAppServer());
  const exchange = new Exchange(options, server);
  try {
    return await exchange.run();
  } finally {
    await exchange.stop();
    if (!options.server) await server.close();
  }
}

class Exchange {
  private readonly timeoutMs: number;
  private readonly lives: BotProcess[] = [];
  private peer!: BotProcess;
  private jidA = '';
  private jidB = '';
  private readonly texts = new Map<string, string>();
  private readonly sentByA = new Map<string, string>();
  private extra = 0;
  private readonly report: Omit<ExchangeReport, 'qrs' | 'opens' | 'undecryptable' | 'stats'> = {
    kills: 0,
    delivered: { fromA: 0, fromB: 0 },
    resent: [],
    crashWindow: [],
    missing: [],
    restartMs: [],
    deliveryMs: [],
  };

  constructor(
    private readonly options: ExchangeOptions,
    private readonly server: WhatsAppServer,
  ) {
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  async run(): Promise<ExchangeReport> {
    this.lives.push(this.start('A', { module: this.options.authModule, options: this.options.authOptions }));
    this.peer = this.start('B', this.options.peerAuth ?? { module: MEMORY });
    [this.jidA, this.jidB] = await Promise.all([this.pair(this.bot), this.pair(this.peer)]);
    for (let i = 0; i < this.options.messages; i += 1) await this.turn(i);
    const everything = [...this.lives, this.peer];
    return {
      ...this.report,
      qrs: new Set(this.lives.flatMap((life) => life.seen('qr').map(({ qr }) => qr))).size,
      opens: this.lives.reduce((sum, life) => sum + life.seen('open').length, 0),
      undecryptable: everything.flatMap((bot) =>
        bot.seen('undecryptable').map(({ id, reason }) => `${bot.name}: ${id}: ${reason}`),
      ),
      stats: await this.server.stats(),
    };
  }

  async stop(): Promise<void> {
    await Promise.all([this.lives.at(-1)?.close(), this.peer?.close()]);
  }

  private get bot(): BotProcess {
    const bot = this.lives.at(-1);
    if (!bot) throw new Error('bot A was not started');
    return bot;
  }

  private start(name: string, auth: AuthChoice): BotProcess {
    const setup: ChildSetup = {
      url: this.server.url,
      authModule: pathToFileURL(auth.module).href,
      authOptions: auth.options ?? {},
      alreadySent: name === 'A' ? [...this.sentByA] : [],
    };
    return new BotProcess(name, CHILD, { BOT_SETUP: JSON.stringify(setup) });
  }

  private async pair(bot: BotProcess): Promise<string> {
    const { qr } = await bot.waitFor('qr', this.timeoutMs);
    const { jid } = await this.server.scan(qr);
    await bot.waitFor('synced', this.timeoutMs);
    return jid;
  }

  private kill = async (): Promise<void> => {
    if (!this.bot.running) return;
    this.report.kills += 1;
    await this.bot.kill();
  };

  private restart = async (): Promise<void> => {
    if (this.bot.running) return;
    const { authModule, authOptions } = this.options;
    const bot = this.start('A', { module: authModule, options: authOptions });
    this.lives.push(bot);
    const open = await bot.waitFor('open', this.timeoutMs);
    this.report.restartMs.push(open.at - bot.startedAt);
    await bot.waitFor('caught-up', this.timeoutMs);
  };

  private reconnect = async (): Promise<void> => {
    const since = performance.now();
    await this.server.disconnect(this.jidA);
    await this.bot.waitFor('caught-up', this.timeoutMs, ({ at }) => at > since);
  };

  private async turn(i: number): Promise<void> {
    const { between, killAt, killDelayMs, onKill } = this.options;
    const extraBefore = this.extra;
    await between?.({
      message: i,
      server: this.server,
      reconnect: this.reconnect,
      kill: this.kill,
      stop: () => this.bot.close(),
      restart: this.restart,
      sendToA: (text) => this.sendToA(text),
    });
    await this.restart();
    for (let extra = extraBefore; extra < this.extra; extra += 1) await this.settle(`X${extra}`, false);

    const fromA = i % 2 === 0;
    const id = `M${i}`;
    const text = `message ${i}`;
    this.texts.set(id, text);
    if (fromA) this.sentByA.set(id, text);
    if (!killAt?.includes(i)) {
      await this.send(id, fromA);
      return;
    }
    const delay = killDelayMs?.(i);
    if (delay === undefined) await this.kill();
    if (delay === undefined && fromA) {
      await onKill?.(i);
      await this.restart();
      await this.send(id, fromA);
      return;
    }
    const [sender, to] = fromA ? [this.bot, this.jidB] : [this.peer, this.jidA];
    const sending = sender.send(userOf(to), this.texts.get(id) ?? '', id, this.timeoutMs);
    // Whether a killed sender got its message out shows in what arrives.
    const cutOff = fromA ? sending.catch(() => undefined) : sending;
    if (delay !== undefined) {
      await sleep(delay);
      await this.kill();
    }
    await onKill?.(i);
    await cutOff;
    await this.restart();
    await this.settle(id, fromA, !fromA && delay !== undefined);
  }

  private async sendToA(text: string): Promise<void> {
    const id = `X${this.extra}`;
    this.extra += 1;
    this.texts.set(id, text);
    await this.peer.send(userOf(this.jidA), text, id, this.timeoutMs);
  }

  /** One message from an undisturbed sender. */
  private async send(id: string, fromA: boolean): Promise<void> {
    const startedAt = performance.now();
    const [sender, receiver] = fromA ? [this.bot, this.peer] : [this.peer, this.bot];
    const to = userOf(fromA ? this.jidB : this.jidA);
    try {
      const arrival = receiver.waitFor('message', this.timeoutMs, (message) => message.id === id);
      // Sending ends with storing what it changed: the next message must not come in between.
      const [{ at }] = await Promise.all([
        arrival,
        sender.send(to, this.texts.get(id) ?? '', id, this.timeoutMs),
      ]);
      this.report.deliveryMs.push(at - startedAt);
      this.count(fromA);
    } catch (error) {
      if (!sender.running || !receiver.running) throw error;
      await this.settle(id, fromA);
    }
  }

  private count(fromA: boolean): void {
    this.report.delivered[fromA ? 'fromA' : 'fromB'] += 1;
  }

  private arrived(id: string, fromA: boolean): boolean {
    const receivers = fromA ? [this.peer] : this.lives;
    return receivers.some((bot) => bot.seen('message', (message) => message.id === id).length > 0);
  }

  /**
   * Waits for a message whose way was disturbed: it arrives, perhaps after a retry; or it never left
   * and its application sends it again; or, to A, it was acknowledged and lost in Baileys' window.
   */
  private async settle(id: string, fromA: boolean, killedOnArrival = false): Promise<void> {
    const deadline = performance.now() + this.timeoutMs;
    let quietSince: number | undefined;
    while (!this.arrived(id, fromA)) {
      if (performance.now() > deadline) {
        this.report.missing.push(id);
        return;
      }
      await sleep(POLL_MS);
      const { queueDepth } = await this.server.stats();
      const isQuiet = Object.values(queueDepth).every((depth) => depth === 0);
      if (!isQuiet) quietSince = undefined;
      else quietSince ??= performance.now();
      if (quietSince === undefined || performance.now() - quietSince < QUIET_MS) continue;
      if (killedOnArrival) {
        this.report.crashWindow.push(id);
        return;
      }
      this.report.resent.push(id);
      quietSince = undefined;
      const [sender, to] = fromA ? [this.bot, this.jidB] : [this.peer, this.jidA];
      sender.command({ command: 'send', to: userOf(to), text: this.texts.get(id) ?? '', id });
    }
    this.count(fromA);
  }
}
