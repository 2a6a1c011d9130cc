/** Which part of the store an error comes from. */
export type StorageLayer = 'codec' | 'session' | 'embedded' | 'redis' | 'mongo' | 'hybrid';

/** What every error of the store carries beside its message. */
export interface StorageErrorDetails {
  layer?: StorageLayer | undefined;
  sessionId?: string | undefined;
  cause?: unknown;
}

/** Base of every error the store throws: `code` says what happened, `retryable` whether trying again may help. */
export class StorageError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly layer: StorageLayer | undefined;
  sessionId: string | undefined;

  constructor(code: string, message: string, retryable = false, details: StorageErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.retryable = retryable;
    this.layer = details.layer;
    this.sessionId = details.sessionId;
  }
}

/**
 * A value that cannot be stored, or an argument of the wrong shape. Nothing was written.
 *
 * `path` leads to the offending value, e.g. `creds.me.foo` or `session["123.0"]`.
 */
export class ValueError extends StorageError {
  readonly path: string;

  constructor(path: string, reason: string, cause?: unknown) {
    super('INVALID_VALUE', path === '' ? reason : `${path}: ${reason}`, false, { layer: 'codec', cause });
    this.path = path;
  }
}

/** Stored bytes that are not a value of any format this release knows. Never to be read as "not found". */
export class CorruptRecordError extends StorageError {
  /** What is wrong with the bytes. */
  readonly reason: string;
  /** Id of the record, where the reader knows it. */
  readonly recordId: string | undefined;

  constructor(reason: string, recordId?: string, cause?: unknown) {
    const which = recordId === undefined ? 'stored value' : `stored value of ${JSON.stringify(recordId)}`;
    super('CORRUPT_RECORD', `${which} cannot be decoded: ${reason}`, false, { layer: 'codec', cause });
    this.reason = reason;
    this.recordId = recordId;
  }
}
