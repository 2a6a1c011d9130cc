/** SQLite as other programs use it: `libsql`, which has the interface of better-sqlite3 and comes built for every platform. */

interface Statement {
  run(...values: unknown[]): unknown;
  get(...values: unknown[]): Record<string, unknown> | undefined;
  all(...values: unknown[]): Record<string, unknown>[];
}

export interface SqliteDatabase {
  pragma(text: string): unknown;
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  transaction<A extends unknown[]>(work: (...args: A) => void): (...args: A) => void;
  close(): void;
}

/** Opens a file, or makes it. */
export function openSqlite(path: string): SqliteDatabase {
  const Database = require('libsql') as new (path: string) => SqliteDatabase;
  return new Database(path);
}
