import {
  checkType,
  decodeAnswer,
  encodeGet,
  encodePatch,
  encodeRecords,
  namesOf,
  type RecordEntry,
} from '../codec/index.js';
import { CorruptRecordError, fromNative, StorageError } from '../errors.js';
import { NONE } from '../native/abi.js';
import { type Completion, Kind } from '../native/completion.js';
import type { CoreThread } from '../native/thread.js';
import type { StoreSettings } from '../options/shared.js';
import { type Connection, withFieldNames } from './connection.js';
import { CREDS_ID, CREDS_TYPE } from './records.js';

interface Handle {
  thread: CoreThread;
  id: number;
}

const dropped = new FinalizationRegistry<Handle>(({ thread, id }) => {
  thread.core.closeSession(id);
});

/** A patch without records needs no commit. */
const NOTHING: Promise<Completion> = Promise.resolve({ ok: true, kind: Kind.none });

/** What `keys.set` takes: record type to id to value. */
export type Patch = Record<string, Record<string, unknown> | null | undefined>;

/** One handle on an open session. Handles of one process share the session; closing the last one releases it. */
export class Session {
  private closed = false;

  private constructor(
    readonly sessionId: string,
    private readonly connection: Connection,
    private readonly id: number,
  ) {}

  /** @throws SessionBusyError when a live owner does not release it within `openTimeout` */
  static async open(
    connection: Connection,
    settings: StoreSettings,
    sessionId: string,
    fencingToken: number | undefined,
  ): Promise<Session> {
    const { thread } = connection;
    const options = JSON.stringify({ sessionId, openTimeout: settings.openTimeout, fencingToken });
    const opened = (await withFieldNames(
      settings,
      thread.json(thread.core.openSession(connection.id, options)),
    )) as {
      session: number;
    };
    const session = new Session(sessionId, connection, opened.session);
    dropped.register(session, { thread, id: opened.session }, session);
    connection.watchLease(opened.session, (error) => {
      settings.log('error', 'the session was taken over; writes are refused', { sessionId });
      try {
        settings.onLeaseLost?.(error as StorageError);
      } catch (cause) {
        settings.log('error', 'onLeaseLost threw', { sessionId, error: String(cause) });
      }
    });
    return session;
  }

  /** Commits a patch as it is at the time of the call. */
  put(patch: Patch): Promise<Completion> {
    const { core, scratch } = this.use();
    const length = encodePatch(scratch, patch);
    return length === 0 ? NOTHING : this.commit(core.set(this.id, scratch.bytes, length, NONE));
  }

  /** Commits records as they are at the time of the call. */
  putRecords(records: readonly RecordEntry[]): Promise<Completion> {
    const { core, scratch } = this.use();
    const length = encodeRecords(scratch, records);
    return this.commit(core.set(this.id, scratch.bytes, length, NONE));
  }

  /** Found records by id, fresh at each call; answered without waiting when the owner's memory has them all. */
  async get(
    type: string,
    ids: readonly string[],
    revive?: (value: unknown) => unknown,
  ): Promise<Record<string, unknown>> {
    const thread = this.use();
    const { core, scratch } = thread;
    // The answer has no ids in it, so the array must be the one that was asked with, whatever becomes of the caller's.
    const names = namesOf(ids);
    const length = encodeGet(scratch, type, names);
    const result = core.get(this.id, scratch.bytes, length);
    if (result > 0) {
      return this.decode(scratch.bytes, result - 1, type, names, revive);
    }
    const answer = await thread.answer(-result);
    return this.decode(answer, answer.length, type, names, revive);
  }

  /** The stored creds, undefined if there are none: no value that is stored reads so. */
  async creds(): Promise<unknown> {
    return (await this.get(CREDS_TYPE, [CREDS_ID]))[CREDS_ID];
  }

  /** Patches committed, as far as this process knows; 0 when nothing is stored. */
  version(): number {
    const info = JSON.parse(this.use().core.sessionInfo(this.id)) as { version: number } | null;
    return info?.version ?? 0;
  }

  /**
   * Stores everything in one patch, with a note that outlives the session, if the session is at `version`; returns
   * whether it was.
   */
  async import(frame: Buffer, length: number, version: number, note: string): Promise<boolean> {
    const thread = this.use();
    const completion = await thread.wait(thread.core.storeImport(this.id, frame, length, version, note));
    if (!completion.ok && completion.error.code !== 'VERSION_MISMATCH') {
      throw fromNative(completion.error);
    }
    return completion.ok;
  }

  /** Notes of all imports, the oldest first; what was committed with them survives power loss from now on. */
  async notes(): Promise<string[]> {
    const thread = this.use();
    return (await thread.json(thread.core.storeNotes(this.id))) as string[];
  }

  /** Ids of the records of one type. */
  async listIds(type: string): Promise<string[]> {
    const thread = this.use();
    return (await thread.json(thread.core.storeListIds(this.id, checkType(type)))) as string[];
  }

  /** Deletes every record but the creds. */
  clear(): Promise<Completion> {
    const thread = this.use();
    return thread.wait(thread.core.storeClear(this.id));
  }

  /** Waits for what is under way and releases the session. */
  async close(): Promise<void> {
    if (this.closed) {
      return;
    }
    this.closed = true;
    dropped.unregister(this);
    const { thread } = this.connection;
    try {
      await thread.done(thread.core.closeSession(this.id));
    } finally {
      this.connection.unwatchLease(this.id);
    }
  }

  private use(): CoreThread {
    if (this.closed) {
      throw closedError(this.sessionId);
    }
    return this.connection.thread;
  }

  private commit(request: number): Promise<Completion> {
    return this.connection.thread.wait(request);
  }

  private decode(
    bytes: Buffer,
    length: number,
    type: string,
    ids: readonly string[],
    revive?: (value: unknown) => unknown,
  ): Record<string, unknown> {
    try {
      return decodeAnswer(bytes, length, ids, revive);
    } catch (error) {
      if (error instanceof CorruptRecordError) {
        throw new CorruptRecordError(
          `type ${JSON.stringify(type)}: ${error.reason}`,
          error.recordId,
          error.cause,
          { sessionId: this.sessionId },
        );
      }
      throw error;
    }
  }
}

export function closedError(sessionId?: string): StorageError {
  return new StorageError('CLOSED', 'this handle is closed', false, { layer: 'session', sessionId });
}
