import { FrameReader } from './frames.js';
import { type ForeignServer, ForeignSource, type ForeignTls, serverOptions } from './source.js';

/** A Redis server whose keys are read; nothing here writes. Keys and what they hold are bytes. */
export class ForeignRedis {
  private constructor(private readonly source: ForeignSource) {}

  /** @throws ConfigError, StorageError as when a store is opened */
  static async open(options: {
    redisUrl: string;
    tls?: ForeignTls | undefined;
    timeout: number;
  }): Promise<ForeignRedis> {
    const { redisUrl: url, tls, timeout } = options;
    const server: ForeignServer = { url, tls, timeout };
    return new ForeignRedis(
      await ForeignSource.open(({ core }) => core.foreignRedisOpen(serverOptions(server))),
    );
  }

  /**
   * The keys that match a pattern of Redis, in no order. One may come twice, if the server makes room for more keys
   * meanwhile; none that is there all the time is left out.
   */
  scan(pattern: string | Buffer): AsyncGenerator<Buffer> {
    const { source } = this;
    return source.list(
      () => source.thread.core.foreignRedisScan(source.id, toBytes(pattern)),
      (frame) => frame.bytes(),
    );
  }

  /** `string`, `hash`, `set` …, or `none`. */
  async type(key: string | Buffer): Promise<string> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignRedisType(id, toBytes(key)))) as string;
  }

  async get(key: string | Buffer): Promise<Buffer | null> {
    return (await this.mget([key]))[0] ?? null;
  }

  /**
   * What each key holds, null for one that does not exist.
   *
   * @throws CorruptRecordError naming a key that is of another type
   */
  async mget(keys: readonly (string | Buffer)[]): Promise<(Buffer | null)[]> {
    const { thread, id } = this.source;
    return readAll(await thread.answer(thread.core.foreignRedisGet(id, keys.map(toBytes))), (frame) =>
      frame.bytesOrNull(),
    );
  }

  /**
   * The fields of a hash with their values, in no order; none if there is no such key.
   *
   * @throws CorruptRecordError naming a key that is of another type
   */
  async hgetall(key: string | Buffer): Promise<[field: Buffer, value: Buffer][]> {
    const { thread, id } = this.source;
    return readAll(await thread.answer(thread.core.foreignRedisHash(id, toBytes(key))), (frame) => [
      frame.bytes(),
      frame.bytes(),
    ]);
  }

  /** The members of a set; none if there is no such key. */
  async smembers(key: string | Buffer): Promise<Buffer[]> {
    const { thread, id } = this.source;
    return readAll(await thread.answer(thread.core.foreignRedisMembers(id, toBytes(key))), (frame) =>
      frame.bytes(),
    );
  }

  /** What a field of a hash holds, null if there is none. */
  async hget(key: string | Buffer, field: string): Promise<Buffer | null> {
    const { thread, id } = this.source;
    const answer = await thread.answer(thread.core.foreignRedisField(id, toBytes(key), Buffer.from(field)));
    return new FrameReader(answer).bytesOrNull();
  }

  /** How many items a stream has; 0 if there is none. */
  async xlen(key: string | Buffer): Promise<number> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignRedisStreamLength(id, toBytes(key)))) as number;
  }

  /** The server's time, in milliseconds since 1970. */
  async time(): Promise<number> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignTime(id))) as number;
  }

  /** Milliseconds that a key lives on, null if for ever or if there is none. */
  async ttl(key: string | Buffer): Promise<number | null> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignRedisTtl(id, toBytes(key)))) as number | null;
  }

  close(): Promise<void> {
    return this.source.close();
  }
}

/** A text as a pattern that matches nothing else. */
export const escapePattern = (text: string): string => text.replace(/[\\*?[\]]/g, '\\$&');

const toBytes = (text: string | Buffer): Buffer => (typeof text === 'string' ? Buffer.from(text) : text);

function readAll<T>(answer: Buffer, read: (frame: FrameReader) => T): T[] {
  const frame = new FrameReader(answer);
  const found: T[] = [];
  while (!frame.isAtEnd) {
    found.push(read(frame));
  }
  return found;
}
