import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, open, readFile, rm } from 'node:fs/promises';
import { reviveBufferJson } from '../../codec/index.js';
import { ConfigError, CorruptRecordError } from '../../errors.js';
import { recordsOf, snapshotOf } from '../../store/records.js';
import type { AuthPatch } from '../../store/types.js';
import { differences, digestsOf } from '../digest.js';
import { writeBufferJson } from './buffer-json.js';
import type { SessionStore, StoredSession } from './store.js';
import { sessionExists } from './vault.js';

const FORMAT = 'baileys-vault session';
const VERSION = 1;

/** What the file holds; `docs/guides/cli.md` describes it. */
interface Content {
  format: string;
  version: number;
  sessionId: string;
  exportedAt: string;
  /** When the session was last written, ISO 8601, where that was known. */
  updatedAt?: string;
  /** By type: what was written, so that a file that was cut short or changed is noticed. */
  sha256: Record<string, string>;
  creds?: unknown;
  keys: Record<string, Record<string, unknown>>;
  appState?: Record<string, unknown>;
}

/** One session in one JSON file, its bytes written as Baileys' `BufferJSON` does. */
export class JsonSession implements SessionStore {
  private content: Content | undefined;

  constructor(
    readonly shown: string,
    private readonly file: string,
  ) {}

  async list(): Promise<string[]> {
    const content = await this.load();
    return content === undefined ? [] : [content.sessionId];
  }

  async exists(sessionId: string): Promise<boolean> {
    return (await this.list()).includes(sessionId);
  }

  async read(sessionId: string): Promise<StoredSession | undefined> {
    const content = await this.load();
    if (content?.sessionId !== sessionId) {
      return undefined;
    }
    const { creds, keys, appState } = content;
    const patch = {
      ...(creds !== undefined && { creds }),
      keys,
      ...(appState !== undefined && { appState }),
    };
    const records = recordsOf(patch as AuthPatch);
    const digests = digestsOf(records);
    const written = new Map(
      Object.entries(content.sha256).map(([type, sha256]) => [type, { records: 0, bytes: 0, sha256 }]),
    );
    const differing = differences(digests, written);
    if (differing.length > 0) {
      throw damaged(this.file, `it was changed since it was written (${differing.join(', ')})`);
    }
    const { updatedAt } = content;
    return { records, ...(updatedAt !== undefined && { updatedAt: Date.parse(updatedAt) }) };
  }

  async hold<T>(sessionId: string, work: (session: StoredSession | undefined) => Promise<T>): Promise<T> {
    return await work(await this.read(sessionId));
  }

  async create(sessionId: string, { records, updatedAt }: StoredSession): Promise<void> {
    const { creds, keys, appState } = snapshotOf(records);
    const content: Content = {
      format: FORMAT,
      version: VERSION,
      sessionId,
      exportedAt: new Date().toISOString(),
      ...(updatedAt !== undefined && { updatedAt: new Date(updatedAt).toISOString() }),
      sha256: Object.fromEntries([...digestsOf(records)].map(([type, { sha256 }]) => [type, sha256])),
      ...(creds !== undefined && { creds }),
      keys,
      ...(appState !== undefined && { appState }),
    };
    const draft = `${this.file}.${randomBytes(4).toString('hex')}.partial`;
    try {
      const file = await open(draft, 'wx', 0o600);
      try {
        await file.writeFile(`${writeBufferJson(content, sessionId, 1)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      // Unlike `rename`, this fails if the name is taken.
      await link(draft, this.file);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EEXIST') {
        throw sessionExists(sessionId, this.shown);
      }
      throw code === undefined
        ? cause
        : new ConfigError('json', `${this.file} cannot be written (${code})`, { cause });
    } finally {
      await rm(draft, { force: true });
    }
    this.content = undefined;
  }

  async readBack(sessionId: string): Promise<StoredSession | undefined> {
    this.content = undefined;
    return await this.read(sessionId);
  }

  async verify(): Promise<void> {}

  async close(): Promise<void> {}

  private async load(): Promise<Content | undefined> {
    if (this.content === undefined && existsSync(this.file)) {
      this.content = contentOf(this.file, await readFile(this.file, 'utf8'));
    }
    return this.content;
  }
}

function contentOf(file: string, text: string): Content {
  let found: unknown;
  try {
    found = reviveBufferJson(text);
  } catch (error) {
    throw error instanceof CorruptRecordError ? damaged(file, error.reason) : error;
  }
  const { format, version, sessionId, keys, sha256 } = (found ?? {}) as Partial<Content>;
  if (format !== FORMAT) {
    throw new ConfigError('json', `${file} was not written by baileys-vault export`);
  }
  if (version !== VERSION) {
    throw new ConfigError('json', `${file} is of version ${String(version)}, this release reads ${VERSION}`);
  }
  if (typeof sessionId !== 'string' || typeof keys !== 'object' || typeof sha256 !== 'object') {
    throw damaged(file, 'a part of it is missing');
  }
  return found as Content;
}

const damaged = (file: string, reason: string): CorruptRecordError =>
  new CorruptRecordError(reason, file, undefined, { layer: 'cli', details: { file } });
