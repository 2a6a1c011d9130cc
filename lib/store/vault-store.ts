import { encodeRecords } from '../codec/index.js';
import { ConfigError, StorageError, ValueError } from '../errors.js';
import { NONE } from '../native/abi.js';
import { readSnapshot } from '../native/snapshot.js';
import type { StoreSettings } from '../options/shared.js';
import { Connection } from './connection.js';
import { recordsOf, snapshotOf } from './records.js';
import { closedError, Session } from './session.js';
import type {
  AuthPatch,
  AuthSnapshot,
  AuthStore,
  BatchResult,
  BatchUpdate,
  RotationResult,
  SessionId,
  Versioned,
  VersionedResult,
} from './types.js';

const DAY = 86_400_000;

/** Checked options, as the hooks hand them to a store in place of the program's own. */
export class Prepared {
  constructor(readonly settings: StoreSettings) {}
}

/** What every store offers, for any of its sessions. Each method fails with a StorageError. */
export class VaultStore implements AuthStore {
  protected connection: Connection | undefined;
  private connecting: Promise<void> | undefined;
  private closing: Promise<void> | undefined;
  private readonly sessions = new Set<Session>();
  private rotationDue: number;

  protected constructor(
    /** @internal */
    readonly settings: StoreSettings,
  ) {
    const { keyRotationDays } = settings.security;
    this.rotationDue = keyRotationDays > 0 ? Date.now() + keyRotationDays * DAY : Number.POSITIVE_INFINITY;
  }

  /** Opens the store; does nothing when it is open. */
  async connect(): Promise<void> {
    // How closing went is for whoever closed it to know.
    await this.closing?.catch(() => {});
    if (this.connection === undefined) {
      this.connecting ??= this.open();
      await this.connecting;
    }
  }

  private async open(): Promise<void> {
    try {
      this.connection = await Connection.open(this.settings);
    } finally {
      this.connecting = undefined;
    }
  }

  /**
   * Waits for what is under way, lets go of the hook's session, so that another process may have it at once, and
   * closes the store. Other stores and hooks of this process go on.
   */
  async disconnect(): Promise<void> {
    await this.connecting;
    const { connection } = this;
    if (connection !== undefined) {
      this.connection = undefined;
      this.closing = this.shut(connection).finally(() => {
        this.closing = undefined;
      });
    }
    await this.closing;
  }

  private async shut(connection: Connection): Promise<void> {
    const outcomes = await Promise.allSettled([...this.sessions].map((session) => session.close()));
    this.sessions.clear();
    await connection.close();
    await this.settings.queue?.close();
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) {
      throw failed.reason;
    }
  }

  /** Same as `disconnect`. */
  close(): Promise<void> {
    return this.disconnect();
  }

  /** @internal A handle on a session, closed with this store. */
  async openSession(sessionId: string, fencingToken?: number): Promise<Session> {
    const session = await Session.open(this.use(), this.settings, sessionId, fencingToken);
    this.sessions.add(session);
    return session;
  }

  /** Everything the session holds, or null when there is no such session. */
  async get(sessionId: SessionId): Promise<Versioned<AuthSnapshot> | null> {
    const { thread, id } = this.use();
    const payload = await thread.snapshot(thread.core.storeGet(id, checkId(sessionId)));
    if (payload === undefined) {
      return null;
    }
    const { info, records } = readSnapshot(payload);
    return { data: snapshotOf(records), version: info.version, updatedAt: new Date(info.updatedAt) };
  }

  /**
   * Commits a patch: creds are replaced, keys and appState merged record by record, null records deleted.
   *
   * @param expectedVersion the version the session must be at
   * @param fencingToken refuse to write unless no newer owner has been there
   * @throws VersionMismatchError, FencedError
   */
  async set(
    sessionId: SessionId,
    patch: AuthPatch,
    expectedVersion?: number,
    fencingToken?: number,
  ): Promise<VersionedResult> {
    const { thread, id } = this.use();
    const { core, scratch } = thread;
    const name = checkId(sessionId);
    const version = checkNumber('expectedVersion', expectedVersion);
    const token = checkNumber('fencingToken', fencingToken);
    const length = encodeRecords(scratch, recordsOf(patch));
    const committed = await thread.committed(core.storeSet(id, name, scratch.bytes, length, version, token));
    this.remindOfRotation();
    return { version: committed.version, updatedAt: new Date(committed.updatedAt), success: true };
  }

  /** Deletes the session everywhere. Open handles on it refuse further writes. */
  async delete(sessionId: SessionId): Promise<void> {
    const { thread, id } = this.use();
    await thread.json(thread.core.storeDelete(id, checkId(sessionId)));
  }

  /** Renews the session's TTL: `ttlSeconds` from now, or the configured `ttl`. */
  async touch(sessionId: SessionId, ttlSeconds?: number): Promise<void> {
    const { thread, id } = this.use();
    const seconds = checkNumber('ttlSeconds', ttlSeconds);
    await thread.json(thread.core.storeTouch(id, checkId(sessionId), seconds));
  }

  async exists(sessionId: SessionId): Promise<boolean> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeExists(id, checkId(sessionId)))) as boolean;
  }

  /** Ids of all sessions of this store. */
  async list(): Promise<SessionId[]> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeList(id))) as string[];
  }

  /** Several sessions at once; fails when one of them cannot be read, because that is not the same as absent. */
  async batchGet(sessionIds: SessionId[]): Promise<Map<SessionId, Versioned<AuthSnapshot> | null>> {
    const found = await Promise.all(sessionIds.map((sessionId) => this.get(sessionId)));
    return new Map(sessionIds.map((sessionId, index) => [sessionId, found[index] ?? null]));
  }

  /** Several patches at once, each by itself. */
  batchSet(updates: BatchUpdate[]): Promise<BatchResult<VersionedResult>> {
    return eachOf(
      updates,
      ({ sessionId }) => sessionId,
      ({ sessionId, patch, expectedVersion }) => this.set(sessionId, patch, expectedVersion),
    );
  }

  /** Deletes several sessions, each by itself. */
  batchDelete(sessionIds: SessionId[]): Promise<BatchResult<void>> {
    return eachOf(
      sessionIds,
      (sessionId) => sessionId,
      (sessionId) => this.delete(sessionId),
    );
  }

  /** Whether the storage answers now. */
  async isHealthy(): Promise<boolean> {
    if (this.connection === undefined) {
      return false;
    }
    const { thread, id } = this.connection;
    const completion = await thread.wait(thread.core.storePing(id));
    return completion.ok;
  }

  /** The store's figures at this moment: sessions, cache, servers, outbox. Costs no storage access. */
  stats(): Record<string, unknown> {
    const { thread, id } = this.use();
    return JSON.parse(thread.core.storeStats(id)) as Record<string, unknown>;
  }

  /** Metrics of this process as Prometheus text; empty when `observability.enableMetrics` is false. */
  async getMetricsText(): Promise<string> {
    const { thread } = this.use();
    return this.settings.observability.metrics ? thread.core.metricsText() : '';
  }

  /** What a scraper needs: the metrics as text and their content type. */
  getMetricsRegistry(): { contentType: string; metrics(): Promise<string> } {
    return {
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      metrics: () => this.getMetricsText(),
    };
  }

  /** Seals with the active master key whatever an older one sealed. Reads and writes go on meanwhile. */
  async rotateKey(sessionId: SessionId): Promise<RotationResult> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.rotateKey(id, checkId(sessionId)))) as RotationResult;
  }

  /** @internal Warns once, when `security.keyRotationDays` have passed. */
  remindOfRotation(): void {
    if (Date.now() >= this.rotationDue) {
      this.rotationDue = Number.POSITIVE_INFINITY;
      const { keyRotationDays } = this.settings.security;
      this.settings.log('warn', 'the master key is due for rotation', { keyRotationDays });
    }
  }

  /** @internal */
  use(): Connection {
    if (this.connection === undefined) {
      throw closedError();
    }
    return this.connection;
  }
}

/** A method of the replaced package that cannot be kept. */
export function refuseMethod(name: string, why: string): never {
  throw new ConfigError(`store.${name}`, why);
}

function checkId(sessionId: unknown): string {
  if (typeof sessionId !== 'string' || sessionId === '') {
    throw new ValueError('sessionId', 'expected a non-empty string');
  }
  return sessionId;
}

/** A whole number, or the ABI's "none". */
function checkNumber(path: string, value: number | undefined): number {
  if (value === undefined) {
    return NONE;
  }
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new ValueError(path, 'expected a whole number, 0 or more');
  }
  return value;
}

async function eachOf<T, R>(
  items: readonly T[],
  nameOf: (item: T) => SessionId,
  work: (item: T) => Promise<R>,
): Promise<BatchResult<R>> {
  const result: BatchResult<R> = { successful: new Map(), failed: new Map() };
  const outcomes = await Promise.allSettled(items.map(work));
  for (const [index, outcome] of outcomes.entries()) {
    const name = nameOf(items[index] as T);
    if (outcome.status === 'fulfilled') {
      result.successful.set(name, outcome.value);
    } else {
      result.failed.set(
        name,
        outcome.reason instanceof Error
          ? outcome.reason
          : new StorageError('INTERNAL', String(outcome.reason)),
      );
    }
  }
  return result;
}
