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

/** Progress of a key rotation: records sealed again with the active key, of all records. */
export interface RotationResult {
  resealed: number;
  total: number;
}
