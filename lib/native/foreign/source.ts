/** What all readers of other libraries' data share: a handle in the core, and lists that are read page by page. */
import { type CoreThread, coreThread } from '../thread.js';
import { FrameReader } from './frames.js';

/** Milliseconds that one call to a server may take at the least: pages may be large. */
const SHORTEST_OPERATION = 5000;

/** Certificates as PEM, with a URL that asks for TLS. */
export interface ForeignTls {
  ca?: string | undefined;
  cert?: string | undefined;
  key?: string | undefined;
  insecure?: boolean | undefined;
}

/** Where a server is. */
export interface ForeignServer {
  url: string;
  database?: string | undefined;
  tls?: ForeignTls | undefined;
  /** Milliseconds to wait for a server that is not up. */
  timeout: number;
}

/** The options of a server as the core wants them. */
export const serverOptions = ({ url, database, tls, timeout }: ForeignServer): string =>
  JSON.stringify({
    url,
    ...(database !== undefined && { database }),
    ...(tls !== undefined && { tls }),
    operationTimeout: Math.max(timeout, SHORTEST_OPERATION),
    openTimeout: timeout,
  });

/** Closes in the core what the program has dropped without closing it. */
const abandoned = new FinalizationRegistry<{ thread: CoreThread; id: number }>(({ thread, id }) => {
  thread.core.foreignClose(id);
});

/** An open source in the core. */
export class ForeignSource {
  private constructor(
    readonly thread: CoreThread,
    readonly id: number,
  ) {
    abandoned.register(this, { thread, id }, this);
  }

  /** @param request asks the core for the source */
  static async open(request: (thread: CoreThread) => number): Promise<ForeignSource> {
    const thread = coreThread();
    return new ForeignSource(thread, (await thread.json(request(thread))) as number);
  }

  /**
   * The items of a list, fetched page by page while they are asked for.
   *
   * @param begin asks the core for the list
   * @param read reads one item of a page
   */
  async *list<T>(begin: () => number, read: (frame: FrameReader) => T): AsyncGenerator<T> {
    const { thread, id } = this;
    const list = (await thread.json(begin())) as number;
    let more = true;
    try {
      while (more) {
        const frame = new FrameReader(await thread.answer(thread.core.foreignNext(id, list)));
        more = frame.byte() === 1;
        while (!frame.isAtEnd) {
          yield read(frame);
        }
      }
    } finally {
      if (more) {
        // Not read to its end, or failed; nothing is to be said of a source that is closed by now.
        await thread.done(thread.core.foreignEnd(id, list)).catch(() => {});
      }
    }
  }

  async close(): Promise<void> {
    abandoned.unregister(this);
    await this.thread.done(this.thread.core.foreignClose(this.id));
  }
}
