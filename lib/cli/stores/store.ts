import type { RecordEntry } from '../../codec/index.js';
import type { SessionHolder } from '../../store/types.js';

/** Everything of a session at one moment. */
export interface StoredSession {
  records: RecordEntry[];
  /** Where the store counts patches. */
  version?: number;
  /** Milliseconds since 1970, where it is known. */
  updatedAt?: number;
}

/** Sessions in one place, whatever keeps them. */
export interface SessionStore {
  /** The address, without passwords. */
  readonly shown: string;
  /** What in it is a session, where that is not plain; for who finds none. */
  readonly lookedFor?: string;
  list(): Promise<string[]>;
  exists(sessionId: string): Promise<boolean>;
  /** Reads a session beside whoever holds it, whom that does not disturb; undefined if there is none. */
  read(sessionId: string): Promise<StoredSession | undefined>;
  /** Who has a session, as far as the store knows; null if nobody does. Missing where nothing says so. */
  holder?(sessionId: string): Promise<SessionHolder | null>;
  /**
   * Where a store says whether a session is held, and not by whom.
   *
   * @throws SessionBusyError when it is
   */
  ensureFree?(sessionId: string): Promise<void>;
  /**
   * Runs `work` with a session that nobody else has meanwhile.
   *
   * @throws SessionBusyError when somebody holds it
   */
  hold<T>(sessionId: string, work: (session: StoredSession | undefined) => Promise<T>): Promise<T>;
  /**
   * Stores a new session, whole or not at all.
   *
   * @throws CliError with code SESSION_EXISTS when there is one
   */
  create(sessionId: string, session: StoredSession): Promise<void>;
  /** What is stored now of a session that was just created, to be compared by value. */
  readBack(sessionId: string, created: StoredSession): Promise<StoredSession | undefined>;
  /** Looks at what holds the sessions, where reading each of them would not show all damage. */
  verify(): Promise<void>;
  close(): Promise<void>;
}
