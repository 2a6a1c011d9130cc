import type { FrameReader } from './frames.js';
import { ForeignSource } from './source.js';

/** What stands in one column of one row; text as bytes, since nobody checks that it is UTF-8. */
export type SqliteCell =
  | { of: 'null' }
  | { of: 'integer'; value: bigint }
  | { of: 'real'; value: number }
  | { of: 'text'; bytes: Buffer }
  | { of: 'blob'; bytes: Buffer };

/** A column of a table. */
export interface SqliteColumn {
  name: string;
  /** The type that it was declared with, in capitals; may be empty. */
  declared: string;
}

/** An SQLite file whose tables are read as they are at one moment; nothing here writes. */
export class ForeignSqlite {
  private constructor(private readonly source: ForeignSource) {}

  /**
   * Opens a file that is there; it is never made.
   *
   * @param timeout milliseconds to wait for a writer that has locked it
   */
  static async open(path: string, timeout = 5000): Promise<ForeignSqlite> {
    return new ForeignSqlite(
      await ForeignSource.open(({ core }) => core.foreignSqliteOpen(path, Math.round(timeout))),
    );
  }

  async tables(): Promise<string[]> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignSqliteTables(id))) as string[];
  }

  /** The columns of a table; none if there is no such table. */
  async columns(table: string): Promise<SqliteColumn[]> {
    const { thread, id } = this.source;
    return (await thread.json(thread.core.foreignSqliteColumns(id, table))) as SqliteColumn[];
  }

  /**
   * The rows of a table, each with a cell for each of `columns`.
   *
   * @param equals only rows in which these columns have these values
   * @throws CorruptRecordError when there is no such table or column
   */
  rows(
    table: string,
    columns: readonly string[],
    equals: Readonly<Record<string, string | number | null>> = {},
  ): AsyncGenerator<SqliteCell[]> {
    const { source } = this;
    const query = JSON.stringify({ columns, equals: Object.entries(equals) });
    return source.list(
      () => source.thread.core.foreignSqliteRows(source.id, table, query),
      (frame) => columns.map(() => readCell(frame)),
    );
  }

  close(): Promise<void> {
    return this.source.close();
  }
}

function readCell(frame: FrameReader): SqliteCell {
  switch (frame.byte()) {
    case 1:
      return { of: 'integer', value: frame.integer() };
    case 2:
      return { of: 'real', value: frame.real() };
    case 3:
      return { of: 'text', bytes: frame.bytes() };
    case 4:
      return { of: 'blob', bytes: frame.bytes() };
    default:
      return { of: 'null' };
  }
}
