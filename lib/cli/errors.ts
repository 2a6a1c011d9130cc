import { StorageError } from '../errors.js';

/** What the program answers to whoever started it. `docs/guides/cli.md` lists them. */
export const EXIT = {
  ok: 0,
  /** A defect, or an error that no other number is for. */
  failed: 1,
  /** The command line, an option or a value is wrong. Nothing was done. */
  usage: 2,
  /** There is no such session or store. */
  notFound: 3,
  /** Somebody else holds the session or the folder. */
  busy: 4,
  /** The storage cannot be reached, is too slow, or is full. */
  unavailable: 5,
  /** What is stored cannot be read, or is not what it should be. */
  damaged: 6,
  /** Refused, because a session would be lost or overwritten. */
  refused: 7,
  /** Of several sessions, some were not done; each is named. */
  partly: 8,
  interrupted: 130,
} as const;

const BY_CODE: Readonly<Record<string, number>> = {
  USAGE: EXIT.usage,
  CONFIG_INVALID: EXIT.usage,
  INVALID_VALUE: EXIT.usage,
  STORE_UNKNOWN: EXIT.usage,
  SOURCE_ONLY: EXIT.usage,
  SESSION_NOT_FOUND: EXIT.notFound,
  STORE_NOT_FOUND: EXIT.notFound,
  SESSION_BUSY: EXIT.busy,
  FENCED: EXIT.busy,
  STORAGE_UNAVAILABLE: EXIT.unavailable,
  TIMEOUT: EXIT.unavailable,
  CIRCUIT_OPEN: EXIT.unavailable,
  STORAGE_FULL: EXIT.unavailable,
  ENCRYPTION_FAILED: EXIT.damaged,
  CORRUPT_RECORD: EXIT.damaged,
  COMPRESSION_FAILED: EXIT.damaged,
  SESSION_LOST: EXIT.damaged,
  NOT_EQUAL: EXIT.damaged,
  SESSION_EXISTS: EXIT.refused,
  VERSION_MISMATCH: EXIT.refused,
  FOREIGN_FILES: EXIT.refused,
  REFUSED: EXIT.refused,
  INTERRUPTED: EXIT.interrupted,
};

export const exitCodeOf = (error: unknown): number =>
  (error instanceof StorageError ? BY_CODE[error.code] : undefined) ?? EXIT.failed;

/** An error of the command line itself, with what the user may do about it. */
export class CliError extends StorageError {
  /** What to do; a sentence. */
  readonly hint: string | undefined;

  constructor(code: string, message: string, hint?: string, details: Record<string, unknown> = {}) {
    super(code, message, false, { layer: 'cli', details });
    this.hint = hint;
  }
}

export const usage = (message: string, hint?: string): CliError => new CliError('USAGE', message, hint);

export const noSuchSession = (sessionId: string, store: string, hint?: string): CliError =>
  new CliError('SESSION_NOT_FOUND', `there is no session ${JSON.stringify(sessionId)} in ${store}`, hint, {
    sessionId,
    store,
  });

export const interrupted = (): CliError => new CliError('INTERRUPTED', 'interrupted');

export const noSession = ({ shown: store, lookedFor }: { shown: string; lookedFor?: string }): CliError =>
  new CliError(
    'SESSION_NOT_FOUND',
    `there is no session in ${store}`,
    lookedFor && `A session there is ${lookedFor}.`,
    { store },
  );
