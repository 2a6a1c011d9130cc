import { type BsonDocument, readBson } from './bson.js';
import { ForeignSource, type ForeignTls, serverOptions } from './source.js';

/** What a query may say: JSON, in MongoDB's own words. */
export type MongoJson = Readonly<Record<string, unknown>>;

/** A MongoDB database whose documents are read; nothing here writes. */
export class ForeignMongo {
  private constructor(private readonly source: ForeignSource) {}

  /**
   * @param options `database` may be left to the URL
   * @throws ConfigError, StorageError as when a store is opened
   */
  static async open(options: {
    mongoUrl: string;
    database?: string | undefined;
    tls?: ForeignTls | undefined;
    timeout: number;
  }): Promise<ForeignMongo> {
    const { mongoUrl: url, database, tls, timeout } = options;
    const server = serverOptions({ url, database, tls, timeout });
    return new ForeignMongo(await ForeignSource.open(({ core }) => core.foreignMongoOpen(server)));
  }

  /** The names of the collections that the user may read. */
  async collections(): Promise<string[]> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignMongoCollections(id))) as string[];
  }

  /**
   * The documents of a collection that match, by `_id` unless `sort` says otherwise.
   *
   * @throws CorruptRecordError when a document holds what `readBson` does not know
   */
  find(
    collection: string,
    filter: MongoJson = {},
    { projection, sort }: { projection?: MongoJson; sort?: MongoJson } = {},
  ): AsyncGenerator<BsonDocument> {
    const { source } = this;
    const query = JSON.stringify({
      filter,
      ...(projection !== undefined && { projection }),
      ...(sort !== undefined && { sort }),
    });
    return source.list(
      () => source.thread.core.foreignMongoFind(source.id, collection, query),
      (frame) => readBson(frame.bytes()),
    );
  }

  /** The server's time, in milliseconds since 1970. */
  async time(): Promise<number> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignTime(id))) as number;
  }

  /** The indexes by which the server removes documents of a collection, and the field that each goes by. */
  async expiringIndexes(collection: string): Promise<[name: string, field: string][]> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignMongoExpiringIndexes(id, collection))) as [string, string][];
  }

  close(): Promise<void> {
    return this.source.close();
  }
}
