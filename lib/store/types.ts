import type { AuthenticationCreds } from '../baileys/types.js';

/** Name of a session. For several tenants: `tenant:device`. */
export type SessionId = string;

/** Everything a session holds. */
export interface AuthSnapshot {
  /** Undefined at run time while only keys have been stored. */
  creds: AuthenticationCreds;
  /** Record type to id to value, as Baileys stores them. */
  keys: Record<string, Record<string, unknown>>;
  /** Records stored through `set(…, {appState})`, by name. */
  appState?: Record<string, unknown>;
}

/** What is to change: creds are replaced, keys and appState merged record by record; a null record is deleted. */
export type AuthPatch = Partial<AuthSnapshot>;

/** Something with the session's version at the time. */
export interface Versioned<T = unknown> {
  data: T;
  /** Grows by one with each patch; 0 is a session that was never written. */
  version: number;
  updatedAt: Date;
}

/** Outcome of a write that succeeded. */
export interface VersionedResult {
  version: number;
  updatedAt: Date;
  success: boolean;
}

/** One session's part of a batch write. */
export interface BatchUpdate {
  sessionId: SessionId;
  patch: AuthPatch;
  expectedVersion?: number;
}

/** Outcome of a batch, session by session. */
export interface BatchResult<T> {
  successful: Map<SessionId, T>;
  failed: Map<SessionId, Error>;
}

/** What every store offers for any session; where a name may be left out, the hook's own is meant. */
export interface AuthStore {
  get(sessionId?: SessionId): Promise<Versioned<AuthSnapshot> | null>;
  set(
    sessionId: SessionId,
    patch: AuthPatch,
    expectedVersion?: number,
    fencingToken?: number,
  ): Promise<VersionedResult>;
  delete(sessionId?: SessionId): Promise<boolean>;
  touch(sessionId?: SessionId, ttlSeconds?: number): Promise<boolean>;
  exists(sessionId?: SessionId): Promise<boolean>;
  isHealthy(): Promise<boolean>;
  batchGet?(sessionIds: SessionId[]): Promise<Map<SessionId, Versioned<AuthSnapshot> | null>>;
  batchSet?(updates: BatchUpdate[]): Promise<BatchResult<VersionedResult>>;
  batchDelete?(sessionIds: SessionId[]): Promise<BatchResult<void>>;
}

/** What `verify` read, all of it sound. */
export interface VerifyResult {
  sessions: number;
  records: number;
}

/** Progress of a key rotation: records sealed again with the active key, of all records that were looked at. */
export interface RotationResult {
  resealed: number;
  total: number;
}

/** How a key rotation is followed, and broken off. */
export interface RotationOptions {
  /** Called after each step of at most some thousand records. */
  onProgress?: ((soFar: RotationResult) => void) | undefined;
  /** Ends the rotation between two steps; what was sealed stays so. */
  signal?: AbortSignal | undefined;
}

/** Which keys seal a session's records. */
export interface SessionSeals {
  records: number;
  /** Those that are not sealed as new ones would be: with an older key or algorithm, or not at all. */
  stale: number;
  /** How many each key seals, by its id; under `plain` those that are stored readable. */
  keys: Record<string, number>;
}

/** Who holds a session, as its storage has it written down. */
export interface SessionHolder {
  host: string;
  pid: number;
  /** When it took the session, by the storage's clock. */
  since: Date;
  /** When its lease runs out unless it is renewed; null if it lasts as long as the process. */
  expiresAt: Date | null;
  /** The lease has run out, and was not given back: the process was ended, or stands still. */
  isOver: boolean;
  /** The process ran on this machine, and is known to have ended. */
  isDead: boolean;
  /** It is this process. */
  isOurs: boolean;
}
