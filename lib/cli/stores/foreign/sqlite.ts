/**
 * Baileys' own store in SQLite (`useSqliteAuthState`): a file for each session, with a table `creds(key, value)`, of which
 * the row `__creds__` counts, and a table `signal_keys(type, id, value)`. Values are JSON by `BufferJSON`.
 */
import { existsSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { CorruptRecordError } from '../../../errors.js';
import { ForeignSqlite, type SqliteCell } from '../../../native/foreign/sqlite.js';
import { FOLDER_SESSION } from '../../../options/embedded.js';
import { CliError } from '../../errors.js';
import type { StoredSession } from '../store.js';
import type { ForeignAddress } from './address.js';
import { damaged, Gathering, type OnDamage, readJsonValue, type SourcePlace } from './records.js';
import { RecordwiseSessions, type SourceSettings } from './source.js';

const CREDS_TABLE = 'creds';
const CREDS_KEY = '__creds__';
const CREDS_ROW = `${CREDS_TABLE} ${CREDS_KEY}`;
const KEYS_TABLE = 'signal_keys';
const SUFFIX = /\.(db|sqlite|sqlite3)$/i;

/** One file, whose session is called as in a folder of Baileys' own; or a folder of such files, called by their names. */
export class SqliteSessions extends RecordwiseSessions {
  protected override readonly isAtomic = true;

  private constructor(
    readonly shown: string,
    /** Name of a session to its file. */
    private readonly files: ReadonlyMap<string, string>,
    private readonly timeout: number,
  ) {
    super();
  }

  static async open({ shown, place }: ForeignAddress, { timeout }: SourceSettings): Promise<SqliteSessions> {
    if (!existsSync(place)) {
      throw new CliError('STORE_NOT_FOUND', `there is no file or folder ${place}`);
    }
    if (!statSync(place).isDirectory()) {
      return new SqliteSessions(shown, new Map([[FOLDER_SESSION, place]]), timeout);
    }
    const files = new Map<string, string>();
    for (const name of (await readdir(place)).filter((name) => SUFFIX.test(name)).sort()) {
      const file = join(place, name);
      if (await isBaileys(file, timeout)) {
        const sessionId = name.replace(SUFFIX, '');
        const other = files.get(sessionId);
        if (other !== undefined) {
          throw new CliError(
            'USAGE',
            `${basename(other)} and ${name} in ${place} would both be called ${sessionId}`,
          );
        }
        files.set(sessionId, file);
      }
    }
    return new SqliteSessions(shown, files, timeout);
  }

  async list(): Promise<string[]> {
    return [...this.files.keys()];
  }

  protected async readAll(sessionId: string, onDamage: OnDamage): Promise<StoredSession | undefined> {
    const file = this.files.get(sessionId);
    if (file === undefined) {
      return undefined;
    }
    const sqlite = await ForeignSqlite.open(file, this.timeout);
    try {
      return await readSession(sqlite, { sessionId, shown: this.shown }, file, onDamage);
    } finally {
      await sqlite.close();
    }
  }

  async close(): Promise<void> {}
}

/** Whether a file of a folder is such a store; one that is damaged is, until it is read. */
async function isBaileys(file: string, timeout: number): Promise<boolean> {
  const sqlite = await ForeignSqlite.open(file, timeout).catch((error: unknown) => {
    if (error instanceof CorruptRecordError) {
      return undefined;
    }
    throw error;
  });
  try {
    return sqlite === undefined || (await sqlite.tables()).includes(KEYS_TABLE);
  } finally {
    await sqlite?.close();
  }
}

async function readSession(
  sqlite: ForeignSqlite,
  place: SourcePlace,
  file: string,
  onDamage: OnDamage,
): Promise<StoredSession | undefined> {
  const tables = await sqlite.tables();
  const missing = [CREDS_TABLE, KEYS_TABLE].filter((table) => !tables.includes(table));
  if (missing.length > 0) {
    throw new CorruptRecordError(
      `it has no table ${missing.join(' and ')}: it is no store of Baileys’ useSqliteAuthState`,
      file,
      undefined,
      { layer: 'import', sessionId: place.sessionId, details: { file } },
    );
  }
  const gathering = new Gathering(place, onDamage);
  for await (const [type, id, value] of sqlite.rows(KEYS_TABLE, ['type', 'id', 'value'])) {
    const [typeText, idText] = [textOf(type), textOf(id)];
    const name = `${KEYS_TABLE} ${typeText ?? '?'} ${idText ?? '?'}`;
    gathering.add([{ type: typeText ?? '', id: idText ?? '' }], () => {
      if (!typeText || !idText) {
        throw damaged(place, name, 'its type and its id must be texts');
      }
      return jsonOf(place, name, value);
    });
  }
  for await (const [value] of sqlite.rows(CREDS_TABLE, ['value'], { key: CREDS_KEY })) {
    gathering.addCreds(CREDS_ROW, () => jsonOf(place, CREDS_ROW, value));
  }
  const records = gathering.all(CREDS_ROW);
  return records && { records };
}

function jsonOf(place: SourcePlace, name: string, cell: SqliteCell | undefined): unknown {
  const bytes = bytesOf(cell);
  if (bytes === undefined) {
    throw damaged(place, name, `it must be a text, and is of type ${cell?.of}`);
  }
  return readJsonValue(place, name, bytes);
}

const bytesOf = (cell: SqliteCell | undefined): Buffer | undefined =>
  cell?.of === 'text' || cell?.of === 'blob' ? cell.bytes : undefined;

/** An id that is a number may have been stored as one, where the column was not declared as text. */
const textOf = (cell: SqliteCell | undefined): string | undefined =>
  cell?.of === 'integer' ? String(cell.value) : bytesOf(cell)?.toString('utf8');
