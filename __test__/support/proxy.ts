/**
 * A TCP proxy that does to a connection what networks and crashing servers do. It knows no protocol: a "request" is
 * what the client sends, recognised by bytes in it.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from './services';

/** Recognises a request: by bytes in it (also across packets), or by a look at each packet. */
export type RequestMatcher = string | Buffer | ((packet: Buffer) => boolean);

/** How often a fault happens before it wears off. Default 1. */
export interface FaultOptions {
  readonly times?: number;
}

/** What to do with the connection of a matching request. */
type Fault = 'cut-before' | 'cut-after' | 'drop';

interface Rule {
  readonly fault: Fault;
  readonly matches: (link: Link, packet: Buffer) => boolean;
  left: number;
}

/** Hears what clients send, before any fault; `connection` counts from 1. */
export type Listener = (connection: number, packet: Buffer) => void;

/** One client connection and its counterpart to the server. */
interface Link {
  readonly connection: number;
  readonly client: Socket;
  readonly upstream: Socket;
  /** The end of what the client has sent so far, where a matcher's bytes may have begun. */
  tail: Buffer;
  /** Nothing gets through any more, in either direction, and nothing is closed. */
  dead: boolean;
  /** A matching request is at the server; the answer must not reach the client. */
  awaitingCut: boolean;
  /** Ends when all answers so far have been delivered. */
  answers: Promise<void>;
}

const TAIL_BYTES = 1_024;

export interface FaultProxy {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Client connections open now. */
  readonly open: number;
  /** Client connections accepted since the start. */
  readonly accepted: number;
  /** Closes all connections at once, as if the cable were cut (the client sees a reset). */
  cutAll(): void;
  /** While on, new connections are refused; open ones go on. Resolves when it is in force. */
  refuse(on: boolean): Promise<void>;
  /** From now on answers arrive `ms` later. 0 switches it off. */
  delay(ms: number): void;
  /**
   * While on, whatever either side sends is swallowed, new connections are accepted, and nothing is closed. Switching
   * it off cuts the connections that lost something, since their streams are torn; the others go on.
   */
  blackhole(on: boolean): void;
  /** Cuts the connection before a matching request reaches the server. */
  cutBeforeRequest(matcher: RequestMatcher, options?: FaultOptions): void;
  /** Lets the server carry a matching request out, then cuts the connection in place of the answer. */
  cutAfterRequest(matcher: RequestMatcher, options?: FaultOptions): void;
  /** A matching request never reaches the server, and its connection stays open but silent from there on. */
  dropRequests(matcher: RequestMatcher, options?: FaultOptions): void;
  /** Tells `listener` of everything that clients send from now on. */
  listen(listener: Listener): void;
  /** Bytes of either side that were swallowed by `blackhole` or `dropRequests` so far. */
  readonly swallowed: number;
  /** Faults of the three kinds above that were asked for and have not happened yet. */
  readonly pendingFaults: number;
  /** Takes back all faults: nothing refused, delayed or swallowed. Cuts the connections that lost something. */
  heal(): Promise<void>;
  /** Cuts everything and stops listening. */
  close(): Promise<void>;
}

function toMatch(matcher: RequestMatcher): Rule['matches'] {
  if (typeof matcher === 'function') return (_link, packet) => matcher(packet);
  const wanted = Buffer.from(matcher);
  if (wanted.length === 0 || wanted.length > TAIL_BYTES) {
    throw new RangeError(`bytes to match must be 1 to ${TAIL_BYTES}, got ${wanted.length}`);
  }
  return (link, packet) => {
    const overlap = link.tail.subarray(Math.max(0, link.tail.length - (wanted.length - 1)));
    return Buffer.concat([overlap, packet]).includes(wanted);
  };
}

class TcpProxy implements FaultProxy {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly #targetPort: number;
  readonly #links = new Set<Link>();
  #listener: Server | undefined;
  readonly #listeners: Listener[] = [];
  #rules: Rule[] = [];
  #delayMs = 0;
  #blackhole = false;
  #accepted = 0;
  #swallowed = 0;

  constructor(port: number, targetPort: number) {
    this.port = port;
    this.#targetPort = targetPort;
  }

  get open(): number {
    return this.#links.size;
  }

  get accepted(): number {
    return this.#accepted;
  }

  get swallowed(): number {
    return this.#swallowed;
  }

  get pendingFaults(): number {
    return this.#rules.reduce((sum, { left }) => sum + left, 0);
  }

  cutAll(): void {
    for (const link of this.#links) this.#cut(link);
  }

  async refuse(on: boolean): Promise<void> {
    if (on) {
      // Its callback would wait for the open connections; listening ends at once.
      this.#listener?.close();
      this.#listener = undefined;
      return;
    }
    if (this.#listener !== undefined) return;
    const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#listener = listener;
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(this.port, this.host, resolve);
    });
    // A test that forgot to close its proxy should fail for its own reasons, not hang.
    listener.unref();
  }

  delay(ms: number): void {
    this.#delayMs = ms;
  }

  blackhole(on: boolean): void {
    this.#blackhole = on;
    if (on) return;
    for (const link of this.#links) if (link.dead) this.#cut(link);
  }

  cutBeforeRequest(matcher: RequestMatcher, options?: FaultOptions): void {
    this.#addRule('cut-before', matcher, options);
  }

  cutAfterRequest(matcher: RequestMatcher, options?: FaultOptions): void {
    this.#addRule('cut-after', matcher, options);
  }

  dropRequests(matcher: RequestMatcher, options?: FaultOptions): void {
    this.#addRule('drop', matcher, options);
  }

  listen(listener: Listener): void {
    this.#listeners.push(listener);
  }

  async heal(): Promise<void> {
    this.#rules = [];
    this.#delayMs = 0;
    this.blackhole(false);
    await this.refuse(false);
  }

  async close(): Promise<void> {
    await this.refuse(true);
    this.cutAll();
  }

  #addRule(fault: Fault, matcher: RequestMatcher, options: FaultOptions = {}): void {
    this.#rules.push({ fault, matches: toMatch(matcher), left: options.times ?? 1 });
  }

  #accept(client: Socket): void {
    this.#accepted++;
    const upstream = connect({
      port: this.#targetPort,
      host: this.host,
      allowHalfOpen: true,
      noDelay: true,
    });
    const link: Link = {
      connection: this.#accepted,
      client,
      upstream,
      tail: Buffer.alloc(0),
      dead: false,
      awaitingCut: false,
      answers: Promise.resolve(),
    };
    this.#links.add(link);

    client.on('data', (packet) => this.#fromClient(link, packet));
    upstream.on('data', (packet) => this.#fromServer(link, packet));
    client.on('end', () => {
      if (!this.#swallows(link)) upstream.end();
    });
    upstream.on('end', () => {
      if (link.awaitingCut) this.#cut(link);
      else if (!this.#swallows(link)) void link.answers.then(() => client.end());
    });
    client.on('error', () => this.#cut(link));
    client.on('close', () => this.#cut(link));
    upstream.on('error', () => {
      if (!this.#swallows(link)) this.#cut(link);
    });
  }

  /** Whether what arrives now on this link is to be swallowed. Once something was, the stream is torn for good. */
  #swallows(link: Link): boolean {
    link.dead ||= this.#blackhole;
    return link.dead;
  }

  #fromClient(link: Link, packet: Buffer): void {
    for (const listener of this.#listeners) listener(link.connection, packet);
    const fault = link.dead ? undefined : this.#faultFor(link, packet);
    link.tail = Buffer.concat([link.tail, packet]).subarray(-TAIL_BYTES);
    if (fault === 'cut-before') {
      this.#cut(link);
      return;
    }
    if (fault === 'drop') link.dead = true;
    if (this.#swallows(link)) {
      this.#swallowed += packet.length;
      return;
    }
    if (fault === 'cut-after') link.awaitingCut = true;
    if (link.upstream.writable && !link.upstream.write(packet)) {
      link.client.pause();
      link.upstream.once('drain', () => link.client.resume());
    }
  }

  #fromServer(link: Link, packet: Buffer): void {
    if (link.awaitingCut) {
      // These may be answers to earlier requests in a pipeline. A server reads what it was sent before it sees the
      // end of the stream, so when it closes its side, the matching request has been carried out.
      link.client.pause();
      link.upstream.end();
      return;
    }
    if (this.#swallows(link)) {
      this.#swallowed += packet.length;
      return;
    }
    const due = Date.now() + this.#delayMs;
    link.answers = link.answers.then(async () => {
      const wait = due - Date.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      if (link.client.writable) link.client.write(packet);
    });
  }

  #faultFor(link: Link, packet: Buffer): Fault | undefined {
    if (link.awaitingCut) return undefined;
    const rule = this.#rules.find(({ left, matches }) => left > 0 && matches(link, packet));
    if (rule === undefined) return undefined;
    rule.left--;
    return rule.fault;
  }

  #cut(link: Link): void {
    if (!this.#links.delete(link)) return;
    link.client.resetAndDestroy();
    link.upstream.destroy();
  }
}

/** Starts a proxy to `targetPort` of this machine, whether or not something listens there yet. */
export async function startProxy(targetPort: number): Promise<FaultProxy> {
  const proxy = new TcpProxy(await freePort(), targetPort);
  await proxy.refuse(false);
  return proxy;
}
