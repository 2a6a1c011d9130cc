import { join } from 'node:path';
import { encodeRecords, type RecordEntry, Scratch } from '../codec/index.js';
import { CorruptRecordError, ForeignFilesError, StorageError } from '../errors.js';
import { CREDS_FILE } from '../import/file-names.js';
import { digestOf, readCreds, readFolder } from '../import/multi-file.js';
import { namesOf, type Survey, surveyFolder } from '../import/survey.js';
import type { FolderSettings } from '../options/embedded.js';
import type { LogLevel } from '../options/logger.js';
import { accountOf, isObject, isPaired, isSameIdentity } from './identity.js';
import { inspectCredsFile, isMarker, markerOf, removeMarker, summaryOf, writeMarker } from './marker.js';
import { exists, freshName, putAside } from './put-aside.js';

/** What the folder needs from the session in it. */
export interface FolderSession {
  /** Patches committed, 0 when nothing is stored. */
  version(): number;
  /** The stored creds, undefined if there are none. */
  creds(): Promise<unknown>;
  /** Names of all stored records. */
  names(): Promise<{ type: string; id: string }[]>;
  /** Commits a patch with a note, if the session is at `version`; whether it was. */
  import(frame: Buffer, length: number, version: number, note: string): Promise<boolean>;
  /** The notes of all imports; they and what was committed with them survive power loss from now on. */
  notes(): Promise<string[]>;
}

/** What the database keeps about an import, as JSON. */
interface Note {
  /** ISO 8601. */
  at: string;
  /** Folder that the files were moved into. */
  into: string;
  /** Of the files. */
  digest: string;
}

/** Tries before giving up because other threads keep changing the session. */
const ATTEMPTS = 5;

/**
 * The life cycle of a folder of `useMultiFileAuthState`: imports the files that Baileys' own function left in it, moves
 * them aside, and keeps a marker `creds.json` in their place. `docs/guides/embedded.md` describes each step.
 */
export class FolderLifeCycle {
  private readonly folder: string;
  /** The marker as it was found. */
  private found: string | undefined;
  /** The summary of the creds that it was last brought up to date with. */
  private summary: string | undefined;
  private queue: Promise<void> = Promise.resolve();

  constructor(private readonly settings: FolderSettings) {
    this.folder = settings.folder;
  }

  /** Imports or moves aside foreign files, updates the marker, and resolves to the creds that are stored then. */
  async open(session: FolderSession): Promise<unknown> {
    const stored = await session.creds();
    if (isObject(stored) && isMarker(this.folder, markerOf(stored))) {
      this.summary = summaryOf(stored);
      return stored;
    }
    return await oneAtATime(this.folder, () => this.importForeignFiles(session));
  }

  private async importForeignFiles(session: FolderSession): Promise<unknown> {
    for (let attempt = 1; ; attempt += 1) {
      if (await this.trySettle(session)) {
        break;
      }
      if (attempt === ATTEMPTS) {
        const text = 'the session keeps changing while files are imported';
        throw new StorageError('STORAGE_UNAVAILABLE', text, true, { layer: 'import' });
      }
    }
    const creds = await session.creds();
    if (creds !== undefined) {
      await this.credsStored(creds);
    } else if (this.found !== undefined) {
      await this.sessionDeleted();
    }
    return creds;
  }

  /** Updates the marker: these creds are stored now. */
  async credsStored(creds: unknown): Promise<void> {
    const summary = isObject(creds) ? summaryOf(creds) : undefined;
    if (!isObject(creds) || summary === this.summary) {
      return;
    }
    this.summary = summary;
    const text = markerOf(creds);
    const { found } = this;
    this.found = undefined;
    if (text === found) {
      return;
    }
    await this.changeMarker(async (found) => {
      if (found !== text) {
        await writeMarker(this.folder, text);
      }
    });
  }

  /** Removes the marker: nothing is stored any more. */
  async sessionDeleted(): Promise<void> {
    this.summary = undefined;
    await this.changeMarker(async (found) => {
      if (found !== undefined) {
        await removeMarker(this.folder);
      }
    });
  }

  /** One change at a time. The marker is a convenience: it never fails the session, and never replaces a foreign file. */
  private changeMarker(change: (found: string | undefined) => Promise<void>): Promise<void> {
    const done = this.queue.then(async () => {
      try {
        const found = inspectCredsFile(this.folder);
        if (found.kind === 'foreign') {
          this.log('warn', `${CREDS_FILE} is not ours: the next opening of the folder decides about it`);
        } else {
          await change(found.kind === 'marker' ? found.text : undefined);
        }
      } catch (error) {
        this.summary = undefined;
        this.log('warn', `${CREDS_FILE} of Baileys Vault cannot be kept up to date`, {
          error: String(error),
        });
      }
    });
    this.queue = done;
    return done;
  }

  /** Returns false when another thread has changed the session or its files meanwhile: try again. */
  private async trySettle(session: FolderSession): Promise<boolean> {
    // The decision is about this version: the import is refused if the session is at another one by then.
    const version = session.version();
    const stored = await session.creds();
    const found = inspectCredsFile(this.folder);
    if (found.kind === 'marker') {
      this.found = found.text;
      if (stored !== undefined) {
        return true;
      }
    }
    const survey = await surveyFolder(this.folder);
    if (found.kind === 'marker') {
      survey.creds = [];
    } else if (survey.creds.includes(COPY) && inspectCredsFile(this.folder, COPY).kind === 'marker') {
      // A program that keeps a copy of `creds.json` has copied the marker.
      survey.creds = survey.creds.filter((name) => name !== COPY);
    }
    const foreign = await this.foreignCreds(survey, stored);
    if (foreign === undefined) {
      this.checkStrays(survey, version > 0);
      return true;
    }
    return await this.decide(session, version, survey, stored, foreign);
  }

  private async foreignCreds(survey: Survey, stored: unknown): Promise<unknown> {
    try {
      return await readCreds(this.folder, survey, this.log);
    } catch (error) {
      if (stored === undefined || !(error instanceof CorruptRecordError)) {
        throw error;
      }
      await this.putAside(survey.creds, `${CREDS_FILE} holds no credentials: put it aside`, {
        reason: error.reason,
      });
      return undefined;
    }
  }

  private checkStrays(survey: Survey, isStored: boolean): void {
    const stray = [...survey.keys.values()][0]?.[0];
    if (stray === undefined) {
      return;
    }
    if (isStored) {
      this.log('warn', `key files without a ${CREDS_FILE} of their own are left alone`, { file: stray });
      return;
    }
    throw new StorageError(
      'CORRUPT_RECORD',
      `${join(this.folder, stray)} is there but ${CREDS_FILE} is not: restore it, or remove the key files to begin ` +
        'with a new identity',
      false,
      { layer: 'import', details: { folder: this.folder } },
    );
  }

  private async decide(
    session: FolderSession,
    version: number,
    survey: Survey,
    stored: unknown,
    foreign: unknown,
  ): Promise<boolean> {
    const names = namesOf(survey);
    const before = await this.earlierImport(session, names);
    if (before !== undefined) {
      const last = survey.creds.includes(CREDS_FILE) ? CREDS_FILE : COPY;
      const isMoved = await exists(join(this.folder, before.into, last));
      if (!isMoved || isSameIdentity(stored, foreign)) {
        const { files } = await readFolder(this.folder, survey, foreign, this.log);
        if (await this.move(files, before.into)) {
          this.log(isMoved ? 'warn' : 'info', 'put imported files aside: what is stored is newer', {
            folder: join(this.folder, before.into),
          });
        }
        return true;
      }
    }
    if (survey.creds.includes(CREDS_FILE) && inspectCredsFile(this.folder).kind !== 'foreign') {
      // Another thread has just moved them.
      return false;
    }
    if (stored !== undefined && isPaired(stored) && !isPaired(foreign)) {
      await this.putAside(names, 'put files aside that were never paired: the stored session is', {
        stored: accountOf(stored),
      });
      return true;
    }
    if (before !== undefined || (stored !== undefined && isPaired(stored))) {
      switch (this.settings.onForeignFiles) {
        case 'ignore':
          await this.putAside(names, 'put files aside, as onForeignFiles says', {
            stored: stored === undefined ? 'nothing' : accountOf(stored),
            foreign: accountOf(foreign),
          });
          return true;
        case undefined:
          throw new ForeignFilesError(
            this.folder,
            stored === undefined ? undefined : accountOf(stored),
            accountOf(foreign),
            before?.at,
          );
      }
    }
    return await this.import(session, version, survey, foreign);
  }

  /** The earlier import of these very files, if they have not changed since. */
  private async earlierImport(session: FolderSession, names: readonly string[]): Promise<Note | undefined> {
    const notes = (await session.notes()).map((note) => JSON.parse(note) as Note).reverse();
    for (const note of notes) {
      const moved = join(this.folder, note.into);
      const there = namesOf(await surveyFolder(moved));
      if ((await digestOf(this.folder, [...new Set([...names, ...there])], moved)) === note.digest) {
        return note;
      }
    }
    return undefined;
  }

  private async import(
    session: FolderSession,
    version: number,
    survey: Survey,
    creds: unknown,
  ): Promise<boolean> {
    const { records, files } = await readFolder(this.folder, survey, creds, this.log);
    const replaced = version > 0 ? without(await session.names(), records) : [];
    const now = new Date();
    const note: Note = {
      at: now.toISOString(),
      into: await freshName(this.folder, 'imported', now),
      digest: await digestOf(this.folder, namesOf(survey)),
    };
    const scratch = new Scratch();
    const length = encodeRecords(scratch, [...replaced, ...records]);
    if (!(await session.import(scratch.bytes, length, version, JSON.stringify(note)))) {
      return false;
    }
    // Reading the notes flushes the import to disk. Only then may the files be moved.
    await session.notes();
    const into = join(this.folder, note.into);
    this.log('info', 'imported a folder of useMultiFileAuthState', {
      account: accountOf(creds),
      records: records.length,
      folder: into,
    });
    if ((await this.move(files, note.into)) && this.settings.security.encryption !== null) {
      this.log(
        'warn',
        `the imported files hold readable keys: when all is well, remove them (rm -r '${into}')`,
      );
    }
    return true;
  }

  private async putAside(
    names: readonly string[],
    why: string,
    facts: Record<string, unknown>,
  ): Promise<void> {
    const into = await freshName(this.folder, 'ignored', new Date());
    if (await this.move(names, into)) {
      this.log('warn', why, { ...facts, folder: join(this.folder, into) });
    }
  }

  /** Files that cannot be moved, such as a mounted one, do not undo an import that is committed. */
  private async move(names: readonly string[], into: string): Promise<boolean> {
    try {
      await putAside(this.folder, names, into);
      return true;
    } catch (error) {
      const message = 'files of useMultiFileAuthState cannot be moved; the next opening tries again';
      this.log('warn', message, { into, error: String(error) });
      return false;
    }
  }

  private readonly log = (level: LogLevel, message: string, facts: Record<string, unknown> = {}): void =>
    this.settings.log(level, message, { folder: this.folder, ...facts });
}

/** The last piece of work of each folder. */
const pending = new Map<string, Promise<unknown>>();

/** Runs `work` after everything that this thread has begun in the folder. */
async function oneAtATime<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const done = (pending.get(folder) ?? Promise.resolve()).then(work);
  const over = done
    .catch(() => {})
    .then(() => {
      if (pending.get(folder) === over) {
        pending.delete(folder);
      }
    });
  pending.set(folder, over);
  return await done;
}

const COPY = `${CREDS_FILE}.bak`;

/** Deletions of the stored records that the import does not replace. */
function without(stored: { type: string; id: string }[], records: readonly RecordEntry[]): RecordEntry[] {
  const coming = new Set(records.map(({ type, id }) => JSON.stringify([type, id])));
  return stored
    .filter(({ type, id }) => !coming.has(JSON.stringify([type, id])))
    .map(({ type, id }) => ({ type, id, value: null }));
}
