import { describe, encodeRecords, isWellFormed } from '../codec/index.js';
import { StorageError, ValueError } from '../errors.js';
import { NONE } from '../native/abi.js';
import { readSnapshot, type Snapshot } from '../native/snapshot.js';
import type { StoreSettings } from '../options/shared.js';
import { Connection } from './connection.js';
import { type Held, holderOf } from './holder.js';
import { recordsOf, snapshotOf } from './records.js';
import { RotationReminder } from './rotation-reminder.js';
import { closedError, Session } from './session.js';
import type {
  AuthPatch,
  AuthSnapshot,
  AuthStore,
  BatchResult,
  BatchUpdate,
  RotationOptions,
  RotationResult,
  SessionHolder,
  SessionId,
  SessionSeals,
  VerifyResult,
  Versioned,
  VersionedResult,
} from './types.js';

/** What one step of a rotation did, and where the next one begins; null after the last. */
interface RotationStep extends RotationResult {
  next: string | null;
}

/** The settings that a store works with. Not a method: whoever holds a store must not find its keys there. */
export let settingsOf: (store: VaultStore) => StoreSettings;

/** What `prepared` holds. */
export let unpack: (prepared: Prepared) => StoreSettings;

/** Checked options, as the hooks hand them to a store in place of the program's own. */
export class Prepared {
  readonly #settings: StoreSettings;

  constructor(settings: StoreSettings) {
    this.#settings = settings;
  }

  static {
    unpack = (prepared) => prepared.#settings;
  }
}

/**
 * What every store offers, for any of its sessions. Each method fails with a StorageError.
 *
 * Its fields are private at run time as well: settings hold keys and passwords, and programs print stores.
 */
export class VaultStore implements AuthStore {
  readonly #settings: StoreSettings;
  #connection: Connection | undefined;
  #connecting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  readonly #sessions = new Set<Session>();
  #ownSession: string | undefined;
  #reminder: RotationReminder | undefined;

  protected constructor(settings: StoreSettings) {
    this.#settings = settings;
  }

  /** Opens the store; does nothing when it is open. */
  async connect(): Promise<void> {
    // Whoever closed it gets its error.
    await this.#closing?.catch(() => {});
    if (this.#connection === undefined) {
      this.#connecting ??= this.open();
      await this.#connecting;
    }
  }

  private async open(): Promise<void> {
    try {
      const connection = await Connection.open(this.#settings);
      const { thread, id } = connection;
      this.#connection = connection;
      this.#reminder = new RotationReminder(
        this.#settings.security.keyRotationDays,
        async () => (await thread.json(thread.core.storeKeySeen(id))) as number | null,
        this.#settings.log,
      );
    } finally {
      this.#connecting = undefined;
    }
    this.remindOfRotation();
  }

  /**
   * Waits for what is under way, releases the hook's session, so that another process may have it at once, and
   * closes the store. Other stores and hooks of this process go on.
   */
  async disconnect(): Promise<void> {
    // Without a needless wait: what is called after this in the same turn must find the store closed.
    if (this.#connecting !== undefined) {
      await this.#connecting;
    }
    const connection = this.#connection;
    if (connection !== undefined) {
      this.#connection = undefined;
      this.#closing = this.closeAll(connection).finally(() => {
        this.#closing = undefined;
      });
    }
    await this.#closing;
  }

  private async closeAll(connection: Connection): Promise<void> {
    const outcomes = await Promise.allSettled([...this.#sessions].map((session) => session.close()));
    this.#sessions.clear();
    await connection.close();
    await this.#settings.queue?.close();
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
    const session = await Session.open(this.use(), this.#settings, sessionId, fencingToken);
    this.#sessions.add(session);
    return session;
  }

  /** @internal Closes a handle before this store is closed. */
  async closeSession(session: Session): Promise<void> {
    this.#sessions.delete(session);
    await session.close();
  }

  /** @internal The session that methods mean which are called without a name: that of the hook. */
  adopt(sessionId: string): void {
    this.#ownSession = sessionId;
  }

  private nameOf(sessionId: unknown): string {
    return checkId(sessionId === undefined ? this.#ownSession : sessionId);
  }

  /** Everything the session holds, or null when there is no such session. Without a name: the hook's session. */
  async get(sessionId?: SessionId): Promise<Versioned<AuthSnapshot> | null> {
    const found = await this.snapshot(sessionId);
    return found === undefined
      ? null
      : {
          data: snapshotOf(found.records),
          version: found.info.version,
          updatedAt: new Date(found.info.updatedAt),
        };
  }

  /** @internal Every record of a session, undefined when there is no such session. */
  async snapshot(sessionId?: SessionId): Promise<Snapshot | undefined> {
    const { thread, id } = this.use();
    const payload = await thread.snapshot(thread.core.storeGet(id, this.nameOf(sessionId)));
    return payload && readSnapshot(payload);
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

  /**
   * Deletes the session everywhere, for good; called without a name, the hook's session, as after a logout. Open
   * handles on it refuse further writes.
   *
   * @returns false when there was no such session
   * @throws ValueError for a name that is there but undefined, which would end another session than was meant
   */
  async delete(...names: [sessionId?: SessionId]): Promise<boolean> {
    const { thread, id } = this.use();
    const name = names.length === 0 ? this.nameOf(undefined) : checkId(names[0]);
    return (await thread.json(thread.core.storeDelete(id, name))) as boolean;
  }

  /**
   * Renews the TTL of the session, without a name the hook's: `ttlSeconds` from now, 1 or more, or the configured
   * `ttl`. A session in the embedded store lives until it is deleted, so there `ttlSeconds` is refused.
   *
   * @returns false when there is no such session
   * @throws ConfigError
   */
  async touch(sessionId?: SessionId, ttlSeconds?: number): Promise<boolean> {
    const { thread, id } = this.use();
    const seconds = checkNumber('ttlSeconds', ttlSeconds);
    return (await thread.json(thread.core.storeTouch(id, this.nameOf(sessionId), seconds))) as boolean;
  }

  /** Whether there is such a session. Without a name: the hook's session. */
  async exists(sessionId?: SessionId): Promise<boolean> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeExists(id, this.nameOf(sessionId)))) as boolean;
  }

  /** Ids of all sessions of this store. */
  async list(): Promise<SessionId[]> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeList(id))) as string[];
  }

  /** Several sessions at once; fails when one of them cannot be read, because that is not the same as absent. */
  async batchGet(sessionIds: SessionId[]): Promise<Map<SessionId, Versioned<AuthSnapshot> | null>> {
    const names = checkIds(sessionIds);
    const found = await Promise.all(names.map((name) => this.get(name)));
    return new Map(names.map((name, index) => [name, found[index] ?? null]));
  }

  /** Several patches at once, each by itself and in this order where they are of one session. */
  async batchSet(updates: BatchUpdate[]): Promise<BatchResult<VersionedResult>> {
    checkList('updates', updates).forEach((update, index) => {
      const { sessionId } = (update ?? {}) as Partial<BatchUpdate>;
      checkId(sessionId, `updates[${index}].sessionId`);
    });
    return await eachOf(
      updates,
      ({ sessionId }) => sessionId,
      ({ sessionId, patch, expectedVersion }) => this.set(sessionId, patch, expectedVersion),
    );
  }

  /** Deletes several sessions, each by itself; one that does not exist counts as deleted. */
  async batchDelete(sessionIds: SessionId[]): Promise<BatchResult<void>> {
    return await eachOf(
      checkIds(sessionIds),
      (name) => name,
      async (name) => {
        await this.delete(name);
      },
    );
  }

  /** Whether the storage answers now. */
  async isHealthy(): Promise<boolean> {
    if (this.#connection === undefined) {
      return false;
    }
    const { thread, id } = this.#connection;
    const completion = await thread.wait(thread.core.storePing(id));
    return completion.ok;
  }

  /** The store's metrics at this moment: sessions, cache, servers, outbox. Costs no storage access. */
  stats(): Record<string, unknown> {
    const { thread, id } = this.use();
    return JSON.parse(thread.core.storeStats(id)) as Record<string, unknown>;
  }

  /** Metrics of this process as Prometheus text; empty when `observability.enableMetrics` is false. */
  async getMetricsText(): Promise<string> {
    const { thread } = this.use();
    return this.#settings.observability.metrics ? thread.core.metricsText() : '';
  }

  /** What a scraper needs: the metrics as text and their content type. */
  getMetricsRegistry(): { contentType: string; metrics(): Promise<string> } {
    return {
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      metrics: () => this.getMetricsText(),
    };
  }

  /**
   * Seals with the active master key whatever an older one sealed in the session, without a name the hook's. Reads
   * and writes go on meanwhile. What was sealed stays so if it is broken off, and the next call goes on from there.
   */
  async rotateKey(
    sessionId?: SessionId,
    { onProgress, signal }: RotationOptions = {},
  ): Promise<RotationResult> {
    const { thread, id } = this.use();
    const name = this.nameOf(sessionId);
    const done: RotationResult = { resealed: 0, total: 0 };
    let cursor: string | null = null;
    do {
      signal?.throwIfAborted();
      // In steps, each a patch of its own: a bot that writes waits for one of them at most.
      const step = (await thread.json(thread.core.rotateKey(id, name, cursor))) as RotationStep;
      done.resealed += step.resealed;
      done.total += step.total;
      cursor = step.next;
      onProgress?.({ ...done });
    } while (cursor !== null);
    return done;
  }

  /** Which keys seal a session, without a name the hook's, whoever has it open. */
  async seals(sessionId?: SessionId): Promise<SessionSeals> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeSeals(id, this.nameOf(sessionId)))) as SessionSeals;
  }

  /**
   * Who holds a session, without a name the hook's, as far as its storage has that written down; null if nobody does.
   * Disturbs nobody. In a folder it is this process or nobody.
   */
  async holder(sessionId?: SessionId): Promise<SessionHolder | null> {
    const { thread, id } = this.use();
    const found = (await thread.json(thread.core.storeHolder(id, this.nameOf(sessionId)))) as Held | null;
    return found && holderOf(found);
  }

  /** @internal By how much the storage's clock is ahead of this machine's; null if it has none of its own. */
  async clockSkew(): Promise<{ skewMs: number; uncertainMs: number } | null> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeClock(id))) as { skewMs: number; uncertainMs: number } | null;
  }

  /**
   * Reads everything that is stored: the database itself, where it is an embedded one, and every record of every
   * session, each of which must open with the keys given. Takes as long as that takes; reads and writes go on meanwhile.
   *
   * @throws CorruptRecordError, EncryptionError, CompressionError naming what is damaged
   */
  async verify(): Promise<VerifyResult> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.storeVerify(id))) as VerifyResult;
  }

  /** @internal Warns once, when the master key is older than `security.keyRotationDays`. */
  remindOfRotation(): void {
    this.#reminder?.remind();
  }

  static {
    settingsOf = (store) => store.#settings;
  }

  /** @internal */
  use(): Connection {
    if (this.#connection === undefined) {
      throw closedError();
    }
    return this.#connection;
  }
}

function checkId(sessionId: unknown, path = 'sessionId'): string {
  if (typeof sessionId !== 'string' || sessionId === '') {
    throw new ValueError(path, `expected a non-empty string, got ${describe(sessionId)}`);
  }
  if (!isWellFormed(sessionId)) {
    throw new ValueError(path, 'expected well-formed Unicode, got a lone surrogate');
  }
  return sessionId;
}

const checkIds = (sessionIds: unknown): string[] =>
  checkList('sessionIds', sessionIds).map((name, index) => checkId(name, `sessionIds[${index}]`));

function checkList(path: string, list: unknown): unknown[] {
  if (!Array.isArray(list)) {
    throw new ValueError(path, `expected an array, got ${describe(list)}`);
  }
  return list;
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
