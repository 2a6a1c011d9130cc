/** Which part of the store an error comes from. */
export type StorageLayer =
  | 'options'
  | 'codec'
  | 'native'
  | 'import'
  | 'session'
  | 'embedded'
  | 'redis'
  | 'mongo'
  | 'postgres'
  | 'hybrid'
  | (string & {});

/** What every error of the store carries beside its message. */
export interface StorageErrorDetails {
  layer?: StorageLayer | undefined;
  sessionId?: string | undefined;
  cause?: unknown;
  /** Named facts for programs, e.g. `holder` or `timeoutMs`. Never secrets. */
  details?: Readonly<Record<string, unknown>> | undefined;
}

/** Base of every error the store throws: `code` says what happened, `retryable` whether trying again may help. */
export class StorageError extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly layer: StorageLayer | undefined;
  sessionId: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, retryable = false, details: StorageErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.retryable = retryable;
    this.layer = details.layer;
    this.sessionId = details.sessionId;
    this.details = details.details ?? {};
  }
}

/** An option is unknown, missing, of the wrong shape, or asks for what this package refuses to do. */
export class ConfigError extends StorageError {
  /** Path of the option, e.g. `hybrid.ttl.lockTtl`. */
  readonly field: string;
  /** What would have been accepted, or why the option is refused. */
  readonly expected: string;

  constructor(field: string, expected: string, details: StorageErrorDetails & { got?: string } = {}) {
    const { got, ...rest } = details;
    super('CONFIG_INVALID', `${field}: ${expected}${got === undefined ? '' : `, got ${got}`}`, false, {
      layer: 'options',
      ...rest,
    });
    this.field = field;
    this.expected = expected;
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
  /** Id of the record, where the reader knows it. */
  readonly recordId: string | undefined;
  /** What is wrong with it, without the name. */
  readonly reason: string;

  constructor(reason: string, recordId?: string, cause?: unknown, details: StorageErrorDetails = {}) {
    const which = recordId === undefined ? 'stored value' : `stored value of ${JSON.stringify(recordId)}`;
    super('CORRUPT_RECORD', `${which} cannot be decoded: ${reason}`, false, {
      layer: 'codec',
      cause,
      ...details,
    });
    this.recordId = recordId;
    this.reason = reason;
  }
}

/** The session is not at the version the caller expected. Read again, then decide. */
export class VersionMismatchError extends StorageError {
  readonly expected: number;
  readonly actual: number;

  constructor(expected: number, actual: number, details: StorageErrorDetails & { message?: string } = {}) {
    const { message, ...rest } = details;
    super(
      'VERSION_MISMATCH',
      message ?? `expected version ${expected}, the session is at ${actual}`,
      false,
      rest,
    );
    this.expected = expected;
    this.actual = actual;
  }
}

/** A record cannot be opened: the key that sealed it is not in the key ring, or its bytes were altered. */
export class EncryptionError extends StorageError {
  constructor(message: string, details: StorageErrorDetails = {}) {
    super('ENCRYPTION_FAILED', message, false, details);
  }
}

/** A record cannot be compressed or decompressed. */
export class CompressionError extends StorageError {
  constructor(message: string, details: StorageErrorDetails = {}) {
    super('COMPRESSION_FAILED', message, false, details);
  }
}

/** An operation ran past `operationTimeout` or `openTimeout`. A write may or may not have been applied. */
export class TimeoutError extends StorageError {
  /** What was being done, if known. */
  readonly operation: string;
  /** The limit in milliseconds, 0 if not known. */
  readonly timeoutMs: number;

  constructor(message: string, operation: string, timeoutMs: number, details: StorageErrorDetails = {}) {
    super('TIMEOUT', message, true, details);
    this.operation = operation;
    this.timeoutMs = timeoutMs;
  }
}

/** Somebody else owns the session now. This handle takes no more writes; drop its socket. */
export class FencedError extends StorageError {
  constructor(message: string, details: StorageErrorDetails = {}) {
    super('FENCED', message, false, details);
  }
}

/** A live owner holds the session (or the embedded store) and did not let go within `openTimeout`. */
export class SessionBusyError extends StorageError {
  /** Who holds it, as far as it says. */
  readonly holder: unknown;

  constructor(message: string, details: StorageErrorDetails = {}) {
    super('SESSION_BUSY', message, true, details);
    this.holder = details.details?.holder;
  }
}

/**
 * Files of Baileys' own function are in a folder whose session they could overwrite. Which of the two goes on is for
 * the program to say, by the option `onForeignFiles`; until then nothing is opened, and nothing was changed.
 */
export class ForeignFilesError extends StorageError {
  /** Account of the stored session, undefined when it was deleted. */
  readonly stored: string | undefined;
  /** Account that the files are of. */
  readonly foreign: string;

  constructor(folder: string, stored: string | undefined, foreign: string, importedAt?: string) {
    const known =
      stored === undefined
        ? `which were imported from here (${importedAt}) and whose session was deleted since`
        : `but the session stored there is of ${stored}${stored === foreign ? ', at another time' : ''}`;
    super(
      'FOREIGN_FILES',
      `${folder} holds files of Baileys' own useMultiFileAuthState, of ${foreign}, ${known}. The option onForeignFiles ` +
        `decides: 'import' takes the files in the place of what is stored, 'ignore' puts them aside`,
      false,
      { layer: 'import', details: { folder, stored, foreign, option: 'onForeignFiles' } },
    );
    this.stored = stored;
    this.foreign = foreign;
  }
}

/** An error as the core reports it. */
export interface NativeError {
  code: string;
  message: string;
  retryable?: boolean;
  layer?: string;
  sessionId?: string | null;
  cause?: string | null;
  details?: Record<string, unknown>;
}

/**
 * The class that stands for an error of the core.
 *
 * Call it inside the async function that the program awaits: V8 then puts that function's callers on the stack.
 */
export function fromNative(error: NativeError): StorageError {
  const facts = error.details ?? {};
  const details: StorageErrorDetails = {
    layer: error.layer === 'mongodb' ? 'mongo' : error.layer,
    sessionId: error.sessionId ?? undefined,
    cause: typeof error.cause === 'string' ? causeOf(error.cause) : undefined,
    details: facts,
  };
  const number = (...names: string[]): number =>
    names.map((name) => facts[name]).find((value): value is number => typeof value === 'number') ?? 0;
  const text = (name: string, otherwise: string): string =>
    typeof facts[name] === 'string' ? facts[name] : otherwise;
  const { message } = error;
  switch (error.code) {
    case 'CONFIG_INVALID':
      return new ConfigError(text('field', 'options'), message, details);
    case 'INVALID_VALUE':
      return restore(new ValueError(text('path', ''), message, details.cause), details);
    case 'CORRUPT_RECORD':
      return new CorruptRecordError(message, stringOf(facts.recordId), details.cause, details);
    case 'VERSION_MISMATCH':
      return new VersionMismatchError(
        number('expected', 'expectedVersion'),
        number('actual', 'actualVersion'),
        {
          ...details,
          message,
        },
      );
    case 'ENCRYPTION_FAILED':
      return new EncryptionError(message, details);
    case 'COMPRESSION_FAILED':
      return new CompressionError(message, details);
    case 'TIMEOUT':
      return new TimeoutError(message, text('operation', ''), number('timeoutMs', 'timeout'), details);
    case 'FENCED':
      return new FencedError(message, details);
    case 'SESSION_BUSY':
      return new SessionBusyError(message, details);
    default:
      return new StorageError(error.code, message, error.retryable ?? false, details);
  }
}

const stringOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

function restore(error: StorageError, details: StorageErrorDetails): StorageError {
  error.sessionId = details.sessionId;
  return error;
}

/** The text of a driver's error as an Error whose stack is that text: where it was made says nothing. */
function causeOf(text: string): Error {
  const cause = new Error(text);
  cause.stack = `Error: ${text}`;
  return cause;
}
