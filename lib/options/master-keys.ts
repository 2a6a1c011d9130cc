import { ConfigError } from '../errors.js';
import { isEmpty, refuse } from './check.js';

const KEY_BYTES = 32;
export const KEY_SHAPE = '64 hex characters or a Buffer of 32 bytes';

/** Where keys come from when the store connects: a program that prints them, or a function. */
export type KeySource = { readonly field: string } & (
  | { readonly command: readonly [program: string, ...args: string[]] }
  | { readonly ask: () => unknown }
);

/** A key that is named but empty, or that another option (`requiredBy`) needs. */
export function missingKey(field: string, requiredBy?: string): ConfigError {
  return requiredBy === undefined
    ? new ConfigError(
        field,
        `is named but empty, as where its environment variable is not set: expected ${KEY_SHAPE}; to store sessions ` +
          'readable, leave it out, or give enableEncryption: false',
      )
    : new ConfigError(field, `is required by ${requiredBy}: expected ${KEY_SHAPE}`);
}

/** A copy of the key's 32 bytes, in memory of its own: of the pool, other Buffers' `buffer` would show it. */
export function parseMasterKey(field: string, value: unknown): Buffer {
  const key = Buffer.alloc(KEY_BYTES);
  if (typeof value === 'string' && /^[0-9a-fA-F]{64}$/.test(value)) {
    key.write(value, 'hex');
    return key;
  }
  if (value instanceof Uint8Array && value.length === KEY_BYTES) {
    key.set(value);
    return key;
  }
  if (typeof value === 'string' || value instanceof Uint8Array) {
    const unit = typeof value === 'string' ? 'characters' : 'bytes';
    throw new ConfigError(field, `expected ${KEY_SHAPE}`, { got: `${value.length} ${unit}` });
  }
  throw refuse(field, KEY_SHAPE, value);
}

export function parseMasterKeys(field: string, value: unknown): Buffer[] {
  if (!Array.isArray(value)) {
    throw refuse(field, `an array of keys, each ${KEY_SHAPE}`, value);
  }
  return value.map((key, index) => parseMasterKey(`${field}[${index}]`, key));
}

/** What a file holds, or a program prints, that gives one key: its 32 bytes, or text. */
export const parsePrintedKey = (field: string, printed: Buffer): Buffer =>
  parseMasterKey(field, printed.length === KEY_BYTES ? printed : printed.toString('latin1').trim());

/** The same for several keys, as text, separated by white space or commas. */
export const parsePrintedKeys = (field: string, printed: string): Buffer[] =>
  printed
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((key, at) => parseMasterKey(`${field}[${at}]`, key));

/** A program and its arguments. A text would need a shell, which takes some characters of a path for its own. */
export function parseCommand(field: string, value: unknown): readonly [string, ...string[]] {
  const isCommand =
    Array.isArray(value) &&
    !isEmpty(value[0]) &&
    value.every((word) => typeof word === 'string' && !word.includes('\0'));
  if (!isCommand) {
    throw refuse(field, 'an array of a program and its arguments', value);
  }
  return [...value] as [string, ...string[]];
}
