import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { checkCreds } from '../baileys/creds.js';
import type { RecordEntry } from '../codec/index.js';
import { CorruptRecordError } from '../errors.js';
import type { LogSink } from '../options/logger.js';
import { CREDS_ID, CREDS_TYPE } from '../store/records.js';
import { CREDS_FILE, recordNamesOf } from './file-names.js';
import { type Content, parse, readBytes } from './read-file.js';
import { namesOf, type Survey } from './survey.js';

/** Files read at a time; more only wait for the same four threads. */
const READERS = 32;
/** Names told in one warning. */
const TOLD = 10;

/** What Baileys' `useMultiFileAuthState` left in a folder. */
interface FolderContent {
  records: RecordEntry[];
  /** Every file that the records are from, copies of them included. */
  files: string[];
}

/**
 * Everything in `folder` that goes with `creds`, which were read from it.
 *
 * @throws CorruptRecordError naming a file of a known type that is torn; StorageError naming one that cannot be read
 */
export async function readFolder(
  folder: string,
  survey: Survey,
  creds: unknown,
  log: LogSink,
): Promise<FolderContent> {
  const records: RecordEntry[] = [{ type: CREDS_TYPE, id: CREDS_ID, value: creds }];
  const files = namesOf(survey);
  await inParallel([...survey.keys], READERS, async ([file, names]) => {
    const value = await readWhole(folder, file, names, log);
    // Baileys takes null for absent.
    if (value !== undefined && value !== null) {
      records.push(...recordNamesOf(file).names.map((name) => ({ ...name, value })));
    }
  });
  const leftAlone = [...survey.others];
  await inParallel(survey.doubtful, READERS, async (file) => {
    const content = parse((await readBytes(folder, file)) ?? Buffer.of());
    if (!content.ok || !isKeyMaterial(content.value)) {
      leftAlone.push(file);
      return;
    }
    const { value } = content;
    records.push(...recordNamesOf(file).names.map((name) => ({ ...name, value })));
    files.push(file);
    log('warn', 'importing a key file of an unknown type', { file });
  });
  if (leftAlone.length > 0) {
    log('warn', 'left alone what is not of useMultiFileAuthState', {
      folder,
      count: leftAlone.length,
      names: leftAlone.sort().slice(0, TOLD),
    });
  }
  return { records, files };
}

/**
 * The creds in `folder`, undefined if there is no file of them.
 *
 * @throws CorruptRecordError when there is one that holds no credentials, nor does the copy of it
 */
export async function readCreds(folder: string, survey: Survey, log: LogSink): Promise<unknown> {
  return await readWhole(folder, CREDS_FILE, survey.creds, log, (creds) => {
    const wrong = checkCreds(creds);
    return wrong === undefined ? undefined : `it does not hold credentials (${wrong.path}: ${wrong.problem})`;
  });
}

/** Whether these are the same files with the same content: what is in `folder`, and what is not there any more in `moved`. */
export async function digestOf(folder: string, names: readonly string[], moved?: string): Promise<string> {
  const hashes: string[] = [];
  await inParallel([...names], READERS, async (name) => {
    const bytes = (await readBytes(folder, name)) ?? (moved && (await readBytes(moved, name)));
    const hash = bytes ? createHash('sha256').update(bytes).digest('hex') : '';
    hashes.push(`${name}\0${hash}`);
  });
  return createHash('sha256').update(hashes.sort().join('\n')).digest('hex');
}

/**
 * The value of `file`. While it is replaced, what it was before is under another name: that counts where the file is
 * not there, or not whole.
 */
async function readWhole(
  folder: string,
  file: string,
  names: readonly string[],
  log: LogSink,
  refuse: (value: unknown) => string | undefined = () => undefined,
): Promise<unknown> {
  const read = async (name: string): Promise<Content | undefined> => {
    const bytes = names.includes(name) ? await readBytes(folder, name) : undefined;
    const content = bytes && parse(bytes);
    const reason = content?.ok ? refuse(content.value) : undefined;
    return reason === undefined ? content : { ok: false, reason };
  };
  const content = await read(file);
  if (content?.ok) {
    return content.value;
  }
  const before = await read(`${file}.bak`);
  if (before?.ok) {
    log('warn', 'took the copy of a file that is missing or torn', { file, copy: `${file}.bak` });
    return before.value;
  }
  const failed = content ?? before;
  if (failed === undefined) {
    return undefined;
  }
  throw torn(folder, content === undefined ? `${file}.bak` : file, failed.reason);
}

/** Values of unknown types that are taken for keys: what holds bytes as Baileys writes them, or is a bare string. */
function isKeyMaterial(value: unknown): boolean {
  if (typeof value === 'string' || ArrayBuffer.isView(value)) {
    return true;
  }
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).some((inner) => typeof inner === 'object' && isKeyMaterial(inner))
  );
}

function torn(folder: string, file: string, reason: string): CorruptRecordError {
  const way = file.startsWith(CREDS_FILE)
    ? 'restore it'
    : /^(session|sender-key|identity-key|pre-key)-/.test(file)
      ? 'restore it or remove it: that chat will be negotiated anew'
      : 'restore it or remove it: what it held will be fetched anew';
  return new CorruptRecordError(`${reason}; ${way}. Nothing was imported`, file, undefined, {
    layer: 'import',
    details: { file: join(folder, file) },
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
