import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeRecords, type RecordEntry, reviveBufferJson, Scratch } from '../codec/index.js';
import { isValidAuthCreds } from '../compat/guards.js';
import { ConfigError, CorruptRecordError, StorageError } from '../errors.js';
import type { LogSink } from '../options/logger.js';
import { CREDS_ID, CREDS_TYPE } from '../store/records.js';
import { recordNamesOf } from './file-names.js';

const CREDS_FILE = 'creds.json';
const SUFFIX = '.json';
/** Files read at a time; more only wait for the same four threads. */
const READERS = 32;

/** What the import needs of a session. */
export interface ImportTarget {
  readonly openedAt: number;
  importOnce(frame: Buffer, length: number): Promise<boolean>;
}

/**
 * Moves what Baileys' `useMultiFileAuthState` left in `folder` into a session that was never written, in one patch;
 * the files stay as they are. Does nothing when the session has been written, so a folder is imported once.
 *
 * @throws CorruptRecordError naming a file that is torn; StorageError naming one that cannot be read
 */
export async function importFolder(session: ImportTarget, folder: string, log: LogSink): Promise<void> {
  if (session.openedAt > 0) {
    return;
  }
  const records = await readFolder(folder, log);
  if (records.length === 0) {
    return;
  }
  const scratch = new Scratch();
  const length = encodeRecords(scratch, records);
  if (await session.importOnce(scratch.bytes, length)) {
    log('info', 'imported a folder of useMultiFileAuthState', { folder, records: records.length });
  }
}

/** The records in `folder`, none if it has no files of `useMultiFileAuthState`. */
export async function readFolder(folder: string, log: LogSink): Promise<RecordEntry[]> {
  const files = (await list(folder)).filter((file) => file.endsWith(SUFFIX));
  const keyed = files
    .filter((file) => file !== CREDS_FILE)
    .map((file) => ({ file, ...recordNamesOf(file.slice(0, -SUFFIX.length)) }))
    .filter(({ names }) => names.length > 0);
  if (!files.includes(CREDS_FILE)) {
    const stray = keyed.find(({ known }) => known);
    if (stray !== undefined) {
      throw new StorageError(
        'CORRUPT_RECORD',
        `${join(folder, stray.file)} is there but ${CREDS_FILE} is not: restore it, or remove the key files to ` +
          'begin with a new identity',
        false,
        { layer: 'import', details: { folder } },
      );
    }
    return [];
  }
  const creds = await readValue(folder, CREDS_FILE);
  if (!isValidAuthCreds(creds)) {
    throw torn(folder, CREDS_FILE, 'it does not hold credentials');
  }
  const records: RecordEntry[] = [{ type: CREDS_TYPE, id: CREDS_ID, value: creds }];
  await inParallel(keyed, READERS, async ({ file, known, names }) => {
    const value = await readValue(folder, file);
    // Baileys takes null for absent.
    if (value !== null) {
      records.push(...names.map((name) => ({ ...name, value })));
      if (!known) {
        log('warn', 'importing a key file of an unknown type', { file });
      }
    }
  });
  return records;
}

async function list(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      return [];
    }
    if (code === 'ENOTDIR') {
      throw new ConfigError('folder', `${folder} is not a directory`, { cause });
    }
    throw unreadable(folder, cause);
  }
}

async function readValue(folder: string, file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(join(folder, file), 'utf8');
  } catch (cause) {
    throw unreadable(join(folder, file), cause);
  }
  try {
    return reviveBufferJson(text);
  } catch (error) {
    if (error instanceof CorruptRecordError) {
      throw torn(folder, file, text === '' ? 'it is empty' : error.reason);
    }
    throw error;
  }
}

function torn(folder: string, file: string, reason: string): CorruptRecordError {
  return new CorruptRecordError(`${reason}; nothing was imported`, file, undefined, {
    layer: 'import',
    details: { file: join(folder, file) },
  });
}

function unreadable(path: string, cause: unknown): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `${path} cannot be read`, false, {
    layer: 'import',
    cause,
    details: { file: path },
  });
}

async function inParallel<T>(
  items: readonly T[],
  workers: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  await Promise.all(
    Array.from({ length: workers }, async () => {
      for (const item of queue) {
        await work(item);
      }
    }),
  );
}
