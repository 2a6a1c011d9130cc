import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reviveBufferJson } from '../codec/index.js';
import { CorruptRecordError, StorageError } from '../errors.js';

/** What a file says, or why it cannot be read as the JSON that Baileys writes. */
export type Content = { ok: true; value: unknown } | { ok: false; reason: string };

/**
 * The content of a file, undefined if there is none.
 *
 * @throws StorageError when it cannot be read at all
 */
export async function readBytes(folder: string, name: string): Promise<Buffer | undefined> {
  try {
    return await readFile(join(folder, name));
  } catch (cause) {
    return absent(folder, name, cause);
  }
}

/** The same for a small file: reading it takes a tenth of the hops between threads that waiting for it does. */
export function readBytesNow(folder: string, name: string): Buffer | undefined {
  try {
    return readFileSync(join(folder, name));
  } catch (cause) {
    return absent(folder, name, cause);
  }
}

function absent(folder: string, name: string, cause: unknown): undefined {
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') {
    throw unreadable(join(folder, name), cause);
  }
}

/** Takes the bytes of a file for what `BufferJSON.replacer` made of a value. */
export function parse(bytes: Buffer): Content {
  const reason = unlikeJson(bytes);
  if (reason !== undefined) {
    return { ok: false, reason };
  }
  try {
    return { ok: true, value: reviveBufferJson(bytes.toString('utf8')) };
  } catch (error) {
    if (error instanceof CorruptRecordError) {
      return { ok: false, reason: error.reason };
    }
    throw error;
  }
}

/** What an editor, a copy tool or a lost power supply made of a file; JSON's own errors would not tell. */
function unlikeJson(bytes: Buffer): string | undefined {
  if (bytes.length === 0) {
    return 'it is empty';
  }
  if (bytes.every((byte) => byte === 0)) {
    return 'it holds nothing but zeros';
  }
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    return 'it begins with a byte order mark (BOM): save it as UTF-8 without one';
  }
  const utf16 =
    (bytes[0] === 0xff && bytes[1] === 0xfe) ||
    (bytes[0] === 0xfe && bytes[1] === 0xff) ||
    // JSON begins with a character of ASCII.
    (bytes.length > 1 && (bytes[0] === 0) !== (bytes[1] === 0));
  if (utf16) {
    return 'it is UTF-16: save it as UTF-8';
  }
  return isUtf8(bytes) ? undefined : 'it is not UTF-8';
}

export function unreadable(path: string, cause: unknown): StorageError {
  return new StorageError('STORAGE_UNAVAILABLE', `${path} cannot be read`, false, {
    layer: 'import',
    cause,
    details: { file: path },
  });
}
