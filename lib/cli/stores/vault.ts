import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordEntry } from '../../codec/index.js';
import { VersionMismatchError } from '../../errors.js';
import { inspectCredsFile, removeMarker } from '../../folder/marker.js';
import { CREDS_FILE } from '../../import/file-names.js';
import { FOLDER_SESSION, resolveServerless } from '../../options/embedded.js';
import {
  resolveHybridHook,
  resolveMongoStore,
  resolvePostgresStore,
  resolveRedisStore,
} from '../../options/servers.js';
import { snapshotOf } from '../../store/records.js';
import {
  EmbeddedAuthStore,
  HybridAuthStore,
  MongoAuthStore,
  PostgresAuthStore,
  RedisAuthStore,
} from '../../store/stores.js';
import type { RotationOptions, RotationResult, SessionHolder } from '../../store/types.js';
import { Prepared, type VaultStore } from '../../store/vault-store.js';
import { CliError } from '../errors.js';
import type { Keys } from '../keys.js';
import type { Address } from './address.js';
import type { SessionStore, StoredSession } from './store.js';

/** Milliseconds for one step: a session of a hundred thousand records is written by one. */
const OPERATION_TIMEOUT = 60_000;
/** The options of a hook demand a name; none of a store's own methods uses it. */
const NO_SESSION = '-';

/** The address of a store of this package. */
export type VaultAddress = Extract<Address, { options: unknown }>;

export interface OpenOptions {
  keys: Keys;
  /** Milliseconds to wait for whoever holds a session or a folder, and for a server that is not up. */
  timeout: number;
  warn(text: string): void;
  /** Make the folder if there is none. */
  create: boolean;
}

/** A store of this package. */
export class VaultSessions implements SessionStore {
  private constructor(
    readonly shown: string,
    readonly vault: VaultStore,
    /** Of an embedded store. */
    readonly folder: string | undefined,
  ) {}

  static async open(address: VaultAddress, options: OpenOptions): Promise<VaultSessions> {
    const folder = address.kind === 'embedded' ? String(address.options.path) : undefined;
    if (folder !== undefined && !options.create) {
      checkFolder(folder, address.shown);
    }
    const vault = storeOf(address, options);
    await vault.connect();
    return new VaultSessions(address.shown, vault, folder);
  }

  list(): Promise<string[]> {
    return this.vault.list();
  }

  exists(sessionId: string): Promise<boolean> {
    return this.vault.exists(sessionId);
  }

  async read(sessionId: string): Promise<StoredSession | undefined> {
    const found = await this.vault.snapshot(sessionId);
    return found && { records: found.records, version: found.info.version, updatedAt: found.info.updatedAt };
  }

  holder(sessionId: string): Promise<SessionHolder | null> {
    return this.vault.holder(sessionId);
  }

  async hold<T>(sessionId: string, work: (session: StoredSession | undefined) => Promise<T>): Promise<T> {
    const session = await this.vault.openSession(sessionId);
    try {
      return await work(await this.read(sessionId));
    } finally {
      await this.vault.closeSession(session);
    }
  }

  async create(sessionId: string, { records }: StoredSession): Promise<void> {
    const { creds, ...rest } = snapshotOf(records);
    try {
      await this.vault.set(sessionId, creds === undefined ? rest : { creds, ...rest }, 0);
    } catch (error) {
      throw error instanceof VersionMismatchError ? sessionExists(sessionId, this.shown) : error;
    }
  }

  /** Makes a session that is held exactly `session`, in one patch. */
  async replace(sessionId: string, { records }: StoredSession, held: StoredSession): Promise<void> {
    const { creds, keys, appState = {} } = snapshotOf(records);
    const wanted = new Set(records.map(nameOf));
    // A record that is set to null is deleted.
    const doomed = snapshotOf(
      held.records
        .filter((record) => !wanted.has(nameOf(record)))
        .map((record) => ({ ...record, value: null })),
    );
    const types = new Set([...Object.keys(keys), ...Object.keys(doomed.keys)]);
    await this.vault.set(
      sessionId,
      {
        ...(creds !== undefined && { creds }),
        keys: Object.fromEntries([...types].map((type) => [type, { ...doomed.keys[type], ...keys[type] }])),
        appState: { ...doomed.appState, ...appState },
      },
      held.version,
    );
  }

  readBack(sessionId: string): Promise<StoredSession | undefined> {
    return this.read(sessionId);
  }

  /** Seals a session anew, and lets nobody else have it meanwhile. */
  async rotate(sessionId: string, options: RotationOptions): Promise<RotationResult> {
    const session = await this.vault.openSession(sessionId);
    try {
      return await this.vault.rotateKey(sessionId, options);
    } finally {
      await this.vault.closeSession(session);
    }
  }

  /** Deletes a session, and the `creds.json` that says so to other programs; whether there was one. */
  async delete(sessionId: string): Promise<boolean> {
    const existed = await this.vault.delete(sessionId);
    const { folder } = this;
    if (folder !== undefined && sessionId === FOLDER_SESSION && inspectCredsFile(folder).kind === 'marker') {
      await removeMarker(folder);
    }
    return existed;
  }

  async verify(): Promise<void> {
    if (this.folder !== undefined) {
      await this.vault.verify();
    }
  }

  close(): Promise<void> {
    return this.vault.close();
  }
}

const nameOf = ({ type, id }: RecordEntry): string => JSON.stringify([type, id]);

export const sessionExists = (sessionId: string, shown: string): CliError =>
  new CliError(
    'SESSION_EXISTS',
    `there is a session ${JSON.stringify(sessionId)} in ${shown} already`,
    'Nothing is overwritten: choose another name, or delete that session first.',
    { sessionId },
  );

/** Whether a folder holds a store, be it a broken one: then the store itself says what is wrong. */
export const hasStore = (folder: string): boolean =>
  ['vault.db', 'vault.holder', 'vault.db-wal'].some((name) => existsSync(join(folder, name)));

/** Reading must not make a new store of a name that was mistyped. */
function checkFolder(folder: string, shown: string): void {
  if (hasStore(folder)) {
    return;
  }
  const isForeign = existsSync(join(folder, CREDS_FILE));
  throw new CliError(
    'STORE_NOT_FOUND',
    isForeign
      ? `${shown} is a folder of Baileys' own useMultiFileAuthState`
      : `there is no store in ${shown}: ${existsSync(folder) ? 'no vault.db in it' : 'no such folder'}`,
    isForeign ? `Name it multi-file:${shown}` : undefined,
  );
}

function storeOf(address: VaultAddress, { keys, timeout, warn }: OpenOptions): VaultStore {
  const { kind, options, security } = address;
  const shared = {
    ...keys,
    security,
    ...(security.compressionAlgorithm !== undefined && { enableCompression: true }),
    openTimeout: timeout,
    resilience: { operationTimeout: OPERATION_TIMEOUT },
    // Each session is read once; memory is for those under way.
    cacheBytes: 0,
    logger: loggerTo(warn),
  };
  switch (kind) {
    case 'embedded': {
      const { path, ...rest } = options;
      const settings = resolveServerless({ sessionId: NO_SESSION, embedded: { path }, ...rest, ...shared });
      return new EmbeddedAuthStore(new Prepared(settings));
    }
    case 'redis':
      return new RedisAuthStore(new Prepared(resolveRedisStore({ ...options, ...shared }, {})));
    case 'mongodb':
      return new MongoAuthStore(new Prepared(resolveMongoStore({ ...options, ...shared }, {})));
    case 'postgres':
      return new PostgresAuthStore(new Prepared(resolvePostgresStore({ ...options, ...shared }, {})));
    case 'hybrid':
      return new HybridAuthStore(
        new Prepared(resolveHybridHook({ sessionId: NO_SESSION, hybrid: options, ...shared })),
      );
  }
}

/** Warnings of the store as the command line writes them. */
function loggerTo(warn: (text: string) => void): object {
  const say = (message: string, fields: object): void => {
    const facts = Object.entries(fields ?? {}).map(([name, value]) => `${name}: ${String(value)}`);
    warn(
      [message.replace(/^baileys-vault: /, ''), ...(facts.length > 0 ? [`(${facts.join(', ')})`] : [])].join(
        ' ',
      ),
    );
  };
  return { debug: () => {}, info: () => {}, warn: say, error: say };
}
