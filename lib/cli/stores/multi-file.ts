import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { RecordEntry } from '../../codec/index.js';
import { ConfigError, CorruptRecordError, SessionBusyError, ValueError } from '../../errors.js';
import { inspectCredsFile } from '../../folder/marker.js';
import { CREDS_FILE, classify } from '../../import/file-names.js';
import { readCreds, readFolder } from '../../import/multi-file.js';
import { parse, readBytes } from '../../import/read-file.js';
import { namesOf, surveyFolder } from '../../import/survey.js';
import { FOLDER_SESSION } from '../../options/embedded.js';
import { CREDS_TYPE } from '../../store/records.js';
import { CliError } from '../errors.js';
import { writeBufferJson } from './buffer-json.js';
import type { SessionStore, StoredSession } from './store.js';
import { sessionExists } from './vault.js';

/** Folders below the one that is named in which sessions are looked for. */
const DEPTH = 4;
/** Where no session of anybody's own is: put aside by us, hidden, or somebody else's. */
const SKIPPED = /^(\.|(imported|ignored)-\d|node_modules$)/;
/** Bytes of a file's name that every file system in use takes. */
const LONGEST_NAME = 255;

/** Folders of Baileys' own `useMultiFileAuthState`: one, or all below a folder. */
export class MultiFileSessions implements SessionStore {
  /** Name of a session to its folder. */
  private found: Map<string, string> | undefined;

  /**
   * @param single whether the folder itself is to be the one session that is written; else each gets a folder in it
   */
  constructor(
    readonly shown: string,
    private readonly folder: string,
    private readonly single: boolean,
    private readonly warn: (text: string) => void,
  ) {}

  async list(): Promise<string[]> {
    return [...(await this.sessions()).keys()].sort();
  }

  async exists(sessionId: string): Promise<boolean> {
    return existsSync(join(await this.folderOf(sessionId), CREDS_FILE));
  }

  async read(sessionId: string): Promise<StoredSession | undefined> {
    const folder = await this.folderToRead(sessionId);
    if (folder === undefined) {
      return undefined;
    }
    const survey = await surveyFolder(folder);
    const log = (_level: string, message: string, fields: Record<string, unknown>): void => {
      const names = [fields.names, fields.file].flat().filter((name) => typeof name === 'string');
      this.warn(`${folder}: ${message}${names.length > 0 ? ` (${names.join(', ')})` : ''}`);
    };
    const creds = await readCreds(folder, survey, log);
    if (creds === undefined) {
      throw new CorruptRecordError('it is missing beside key files: restore it', CREDS_FILE, undefined, {
        layer: 'import',
        sessionId,
        details: { folder },
      });
    }
    const { records } = await readFolder(folder, survey, creds, log);
    const { mtimeMs } = await stat(join(folder, CREDS_FILE)).catch(() => ({ mtimeMs: 0 }));
    return { records, ...(mtimeMs > 0 && { updatedAt: Math.round(mtimeMs) }) };
  }

  /** Baileys' own function locks nothing, so that a bot which runs shows only by what it changes meanwhile. */
  async hold<T>(sessionId: string, work: (session: StoredSession | undefined) => Promise<T>): Promise<T> {
    const folder = await this.folderOf(sessionId);
    const before = await stampsOf(folder);
    const result = await work(await this.read(sessionId));
    if ((await stampsOf(folder)) !== before) {
      throw new SessionBusyError(`${folder} was changed while it was read: a bot has it open`, {
        layer: 'import',
        sessionId,
      });
    }
    return result;
  }

  async create(sessionId: string, { records }: StoredSession): Promise<void> {
    const folder = await this.folderOf(sessionId);
    if (existsSync(folder) && (await readdir(folder)).length > 0) {
      throw sessionExists(sessionId, this.shown);
    }
    await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
    // Whole or not at all: written beside, and only then given its name.
    const draft = join(dirname(folder), `.${basename(folder)}.${randomBytes(4).toString('hex')}.partial`);
    await mkdir(draft, { mode: 0o700 });
    try {
      for (const [name, { type, id, value }] of filesOf(records)) {
        await writeWhole(join(draft, name), writeBufferJson(value, id === '' ? type : `${type} ${id}`));
      }
      await rmdir(folder).catch(() => {});
      await rename(draft, folder);
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      throw error;
    }
    this.found?.set(sessionId, folder);
  }

  /** File by file: of a type that is not known, the name of a file does not say where the id begins. */
  async readBack(sessionId: string, { records }: StoredSession): Promise<StoredSession | undefined> {
    const folder = await this.folderOf(sessionId);
    const files = filesOf(records);
    const strays = (await readdir(folder)).filter((name) => !files.has(name));
    if (strays.length > 0) {
      throw new CliError('NOT_EQUAL', `${folder} holds files that were not written: ${strays.join(', ')}`);
    }
    const back: RecordEntry[] = [];
    for (const [name, { type, id }] of files) {
      const content = parse((await readBytes(folder, name)) ?? Buffer.of());
      if (content.ok) {
        back.push({ type, id, value: content.value });
      }
    }
    return { records: back };
  }

  async verify(): Promise<void> {}

  async close(): Promise<void> {}

  /**
   * Where a session is, undefined if there is none.
   *
   * @throws CliError for a folder of ours, whose `creds.json` only looks like one
   */
  async folderToRead(sessionId: string): Promise<string | undefined> {
    const folder = (await this.sessions()).get(sessionId);
    if (folder !== undefined && inspectCredsFile(folder).kind === 'marker') {
      throw new CliError(
        'STORE_NOT_FOUND',
        `${folder} is a folder of Baileys Vault, not of Baileys' own function`,
        'Name it without multi-file: in front.',
      );
    }
    return folder;
  }

  private async folderOf(sessionId: string): Promise<string> {
    const known = (await this.sessions()).get(sessionId);
    return known ?? (this.single ? this.folder : join(this.folder, folderNameOf(sessionId)));
  }

  private async sessions(): Promise<Map<string, string>> {
    this.found ??= await findSessions(this.folder);
    return this.found;
  }
}

/** The folder's own session is called as in a folder of ours; those below it by their paths. */
async function findSessions(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const look = async (at: string, parts: readonly string[]): Promise<void> => {
    const names = await readdir(at, { withFileTypes: true });
    // Key files without creds are a session that has lost them, and not nothing.
    if (names.some((entry) => entry.isFile() && classify(entry.name).of === 'baileys')) {
      const name = parts.length === 0 ? FOLDER_SESSION : parts.map(sessionNameOf).join('/');
      const other = found.get(name);
      if (other !== undefined) {
        throw new ConfigError(
          'multi-file',
          `${other} and ${at} would both be called ${JSON.stringify(name)}`,
        );
      }
      found.set(name, at);
      return;
    }
    if (parts.length === DEPTH) {
      return;
    }
    for (const { name } of names) {
      const path = join(at, name);
      if (!SKIPPED.test(name) && (await stat(path).catch(() => undefined))?.isDirectory()) {
        await look(path, [...parts, name]);
      }
    }
  };
  try {
    await look(folder, []);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      return found;
    }
    if (code === 'ENOTDIR' || code === 'EACCES') {
      throw new ConfigError('multi-file', `${folder} cannot be read as a folder (${code})`, { cause });
    }
    throw cause;
  }
  return found;
}

/** Letters that a file system may not take in a name are percent-encoded; so are names that mean a folder. */
const folderNameOf = (sessionId: string): string =>
  encodeURIComponent(sessionId)
    .replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/^\./, '%2E');

function sessionNameOf(folder: string): string {
  try {
    return decodeURIComponent(folder);
  } catch {
    return folder;
  }
}

/** Names and times of Baileys' files: whoever writes one changes them. */
async function stampsOf(folder: string): Promise<string> {
  if (!existsSync(folder)) {
    return '';
  }
  const stamps: string[] = [];
  for (const name of namesOf(await surveyFolder(folder)).sort()) {
    const found = await stat(join(folder, name), { bigint: true }).catch(() => undefined);
    stamps.push(`${name} ${found?.size} ${found?.mtimeNs} ${found?.ino}`);
  }
  return stamps.join('\n');
}

/** Every record by the name of its file, the creds last: a folder without them is no session. */
function filesOf(records: readonly RecordEntry[]): Map<string, RecordEntry> {
  const files = new Map<string, RecordEntry>();
  const creds = records.filter(({ type }) => type === CREDS_TYPE);
  for (const record of [...records.filter(({ type }) => type !== CREDS_TYPE), ...creds]) {
    const name = record.type === CREDS_TYPE ? CREDS_FILE : fileNameOf(record);
    const other = files.get(name);
    if (other !== undefined) {
      throw new ValueError(
        `${record.type} ${record.id}`,
        `would be in one file with ${other.type} ${other.id}: ${name}`,
      );
    }
    files.set(name, record);
  }
  return files;
}

/** As Baileys' own function names it. */
function fileNameOf({ type, id }: RecordEntry): string {
  const name = `${`${type}-${id}`.replaceAll('/', '__').replaceAll(':', '-')}.json`;
  if (Buffer.byteLength(name) > LONGEST_NAME || name.includes('\0')) {
    throw new ValueError(`${type} ${id}`, 'cannot be the name of a file');
  }
  return name;
}

async function writeWhole(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
