import { ConfigError, StorageError } from '../errors.js';
import { CliError } from './errors.js';
import type { Output } from './output.js';

/** What may be done about an error of a store, where the command line has a word for it. */
const HINTS: Readonly<Record<string, string>> = {
  ENCRYPTION_FAILED: 'Give the key that it is sealed with: BAILEYS_VAULT_MASTER_KEY or --master-key-file.',
  SESSION_BUSY: 'Stop whoever holds it, or wait longer: --timeout <seconds>.',
};

/** Writes an error to stderr: for people, or as one JSON document. */
export function reportError(error: unknown, output: Output): void {
  const { code, message, hint, details } = describe(error);
  if (output.json) {
    output.note(JSON.stringify({ error: { code, message, ...(hint && { hint }), ...details } }));
    return;
  }
  output.note(`${output.err('red', 'error:')} ${message} ${output.err('dim', `(${code})`)}`);
  if (hint !== undefined) {
    output.note(hint);
  }
}

interface Described {
  code: string;
  message: string;
  hint?: string | undefined;
  details?: Record<string, unknown>;
}

export function describe(error: unknown): Described {
  if (error instanceof CliError) {
    return { code: error.code, message: error.message, hint: error.hint, details: { ...error.details } };
  }
  if (error instanceof StorageError) {
    const { code, sessionId, layer, retryable, details } = error;
    const field = error instanceof ConfigError ? error.field : undefined;
    return {
      code,
      message: field === undefined ? error.message : withoutSection(error.message),
      hint: HINTS[code],
      details: {
        layer,
        retryable,
        ...(sessionId !== undefined && { sessionId }),
        ...details,
        ...(field !== undefined && { field: withoutSection(field) }),
      },
    };
  }
  return {
    code: 'INTERNAL',
    message: error instanceof Error ? (error.stack ?? error.message) : String(error),
  };
}

/** An option's place in the options of a hook says nothing to whoever wrote a URL. */
const withoutSection = (text: string): string => text.replace(/^(config|hybrid|embedded)\./, '');
