/**
 * What programs with PostgreSQL do today, over the `pg` package: a row for each key, as the npm stores have it; and one
 * JSON for each session that is read, merged and written, as gateways with an ORM have it.
 */
import { createRequire } from 'node:module';
import type { Baileys, KeyStore, Patch } from '../support/packages.js';

export const ROW_PER_KEY = 'pg, a row per key';
export const ONE_JSON = 'pg, one JSON, read and merged';

/** The part of `pg` that is used. */
export interface Pool {
  query(text: string, values?: readonly unknown[]): Promise<{ rows: Record<string, unknown>[] }>;
  end(): Promise<void>;
  on(event: 'error', listener: () => void): void;
}

/** With as many connections as it has by default. */
export function connectPg(connectionString: string): Pool {
  const { Pool } = createRequire(__filename)('pg') as { Pool: new (options: object) => Pool };
  const pool = new Pool({ connectionString });
  // Without a listener the process ends when the server ends an idle connection.
  pool.on('error', () => {});
  return pool;
}

export async function makeTables(pool: Pool): Promise<void> {
  await pool.query(
    'CREATE TABLE auth_key (session text, name text, value text, PRIMARY KEY (session, name))',
  );
  await pool.query('CREATE TABLE auth_json (session text PRIMARY KEY, data text)');
}

const UPSERT = `INSERT INTO auth_key (session, name, value) VALUES ($1, $2, $3)
  ON CONFLICT (session, name) DO UPDATE SET value = excluded.value`;

export function rowPerKey(pool: Pool, { BufferJSON }: Baileys, session: string): Pick<KeyStore, 'set'> {
  return {
    set: async (data: Patch) => {
      const writes: Promise<unknown>[] = [];
      for (const [type, records] of Object.entries(data)) {
        for (const [id, value] of Object.entries(records ?? {})) {
          const name = `${type}-${id}`;
          writes.push(
            value
              ? pool.query(UPSERT, [session, name, JSON.stringify(value, BufferJSON.replacer)])
              : pool.query('DELETE FROM auth_key WHERE session = $1 AND name = $2', [session, name]),
          );
        }
      }
      await Promise.all(writes);
    },
  };
}

/** Begins with as many records as a session has. */
export async function oneJson(
  pool: Pool,
  { BufferJSON }: Baileys,
  session: string,
  records: readonly Patch[],
): Promise<Pick<KeyStore, 'set'>> {
  const merge = (into: Record<string, Record<string, unknown>>, patch: Patch): void => {
    for (const [type, values] of Object.entries(patch)) {
      into[type] = { ...into[type], ...values };
    }
  };
  const first: Record<string, Record<string, unknown>> = {};
  for (const patch of records) {
    merge(first, patch);
  }
  await pool.query('INSERT INTO auth_json VALUES ($1, $2)', [
    session,
    JSON.stringify(first, BufferJSON.replacer),
  ]);
  return {
    set: async (data: Patch) => {
      const { rows } = await pool.query('SELECT data FROM auth_json WHERE session = $1', [session]);
      const all = JSON.parse(String(rows[0]?.data), BufferJSON.reviver);
      merge(all, data);
      await pool.query('UPDATE auth_json SET data = $2 WHERE session = $1', [
        session,
        JSON.stringify(all, BufferJSON.replacer),
      ]);
    },
  };
}
