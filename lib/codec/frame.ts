/**
 * The frames that cross between JavaScript and the core, all integers little-endian. They live for one call and are
 * never stored; only the values inside them are (`docs/format.md`).
 *
 * Set frame, repeated until its length; the last entry for a (type, id) wins:
 *
 *     u8 op (0 delete, 1 put) | u8 typeLen | u16 idLen | u32 valueLen (0 for delete) | type utf8 | id utf8 | value
 *
 * Get frame:
 *
 *     u8 typeLen | type utf8 | repeated: u16 idLen | id utf8
 *
 * Answer to a get, found records only, in any order:
 *
 *     u32 index (of the id in the get frame) | u32 valueLen | value
 */
import { CorruptRecordError, ValueError } from '../errors.js';
import { decodeValue, setOwn } from './decoder.js';
import { keyedObject } from './plain.js';
import { Refusal, renderPath } from './refusal.js';
import { Scratch } from './scratch.js';
import { describe, isPlainObject } from './shape.js';
import { isWellFormed } from './text.js';

const OP_DELETE = 0;
const OP_PUT = 1;
const SET_HEADER = 8;
const ANSWER_HEADER = 8;
const MAX_TYPE = 0xff;
const MAX_ID = 0xffff;
/** The scratch of `encodeValue` is given up when one value made it larger than this. */
const KEPT_SIZE = 4 * 1024 * 1024;

/** One record of an explicit list; a null or undefined value deletes it. */
export interface RecordEntry {
  type: string;
  id: string;
  value: unknown;
}

/**
 * Writes the patch that Baileys hands to `keys.set` as a set frame and returns its length, 0 if it has no records.
 * Types that are null or undefined are skipped; a null or undefined record is a delete.
 *
 * @throws ValueError naming the offending value; the scratch then holds nothing of use
 */
export function encodePatch(
  scratch: Scratch,
  data: Record<string, Record<string, unknown> | null | undefined>,
): number {
  requireRecords(data, 'keys.set');
  scratch.acquire();
  let reading: string[] = [];
  try {
    let at = 0;
    for (const type of Object.keys(data)) {
      reading = [type];
      const records = data[type];
      if (records === null || records === undefined) {
        continue;
      }
      if (type === 'creds') {
        throw new ValueError(
          'creds',
          'the credentials are no record of the key store: saveCreds stores them',
        );
      }
      requireRecords(records, renderPath('', reading));
      for (const id of Object.keys(records)) {
        reading = [type, id];
        at = writeEntry(scratch, at, type, id, records[id]);
      }
    }
    return at;
  } catch (error) {
    throw asValueError(error, reading);
  } finally {
    scratch.release();
  }
}

/**
 * Writes an explicit list of records as a set frame and returns its length, 0 for an empty list.
 *
 * @throws ValueError naming the offending value
 */
export function encodeRecords(scratch: Scratch, records: readonly RecordEntry[]): number {
  scratch.acquire();
  try {
    let at = 0;
    for (const { type, id, value } of records) {
      at = writeEntry(scratch, at, type, id, value);
    }
    return at;
  } catch (error) {
    throw asValueError(error, ['records']);
  } finally {
    scratch.release();
  }
}

/**
 * Writes a get frame and returns its length.
 *
 * @throws ValueError when `type` or an id cannot be the name of a record
 */
export function encodeGet(scratch: Scratch, type: string, ids: readonly string[]): number {
  if (!Array.isArray(ids)) {
    throw new ValueError('ids', `expected an array of strings, got ${describe(ids)}`);
  }
  scratch.acquire();
  try {
    let at = writeName(scratch, 1, type, MAX_TYPE, 'type');
    scratch.bytes[0] = at - 1;
    for (let index = 0; index < ids.length; index++) {
      const end = writeName(scratch, at + 2, ids[index], MAX_ID, 'id');
      const bytes = scratch.bytes;
      const length = end - at - 2;
      bytes[at] = length & 0xff;
      bytes[at + 1] = length >>> 8;
      at = end;
    }
    return at;
  } catch (error) {
    throw asValueError(error, ['ids']);
  } finally {
    scratch.release();
  }
}

/**
 * Reads the answer in `bytes[0, length)` to a get of `ids`: found values by id, fresh and plain. `revive` is given
 * each value and returns what takes its place.
 *
 * @throws CorruptRecordError when the answer or a value in it is malformed, or `revive` throws
 */
export function decodeAnswer(
  bytes: Buffer,
  length: number,
  ids: readonly string[],
  revive?: (value: unknown) => unknown,
): Record<string, unknown> {
  const found: string[] = [];
  const values: unknown[] = [];
  if (length > bytes.length) {
    throw new CorruptRecordError('the answer is longer than its buffer');
  }
  let at = 0;
  while (at < length) {
    if (at + ANSWER_HEADER > length) {
      throw new CorruptRecordError('the answer is cut short');
    }
    const id = ids[bytes.readUInt32LE(at)];
    const start = at + ANSWER_HEADER;
    at = start + bytes.readUInt32LE(at + 4);
    if (id === undefined || at > length) {
      throw new CorruptRecordError('the answer does not fit the question', id);
    }
    found.push(id);
    try {
      values.push(decodeValue(bytes, start, at));
    } catch (error) {
      throw error instanceof CorruptRecordError ? new CorruptRecordError(error.reason, id) : error;
    }
  }
  // Only now, because `revive` is foreign code and may overwrite `bytes`.
  const result = keyedObject();
  for (let index = 0; index < found.length; index++) {
    const id = found[index] as string;
    let value = values[index];
    if (revive !== undefined) {
      try {
        value = revive(value);
      } catch (error) {
        throw new CorruptRecordError('it is not what its type asks for', id, error);
      }
    }
    setOwn(result, id, value);
  }
  return result;
}

/**
 * Encodes one value by itself, in a Buffer of its own.
 *
 * @throws ValueError whose path begins with `root`
 */
export function encodeValue(value: unknown, root = ''): Buffer {
  standalone.acquire();
  try {
    const end = standalone.encoder.encode(standalone, 0, value);
    const result = Buffer.allocUnsafe(end);
    standalone.bytes.copy(result, 0, 0, end);
    return result;
  } catch (error) {
    throw error instanceof ValueError ? error : Refusal.from(error).toError(root);
  } finally {
    standalone.release();
    if (standalone.bytes.length > KEPT_SIZE) {
      standalone = new Scratch();
    }
  }
}

let standalone = new Scratch();

function writeEntry(scratch: Scratch, at: number, type: string, id: string, value: unknown): number {
  const typeEnd = writeName(scratch, at + SET_HEADER, type, MAX_TYPE, 'type');
  const start = writeName(scratch, typeEnd, id, MAX_ID, 'id');
  const deleted = value === null || value === undefined;
  let end = start;
  if (!deleted) {
    try {
      end = scratch.encoder.encode(scratch, start, value);
    } catch (error) {
      throw asValueError(error, id === '' ? [type] : [type, id]);
    }
  }
  const { bytes } = scratch;
  bytes[at] = deleted ? OP_DELETE : OP_PUT;
  bytes[at + 1] = typeEnd - at - SET_HEADER;
  const idLength = start - typeEnd;
  bytes[at + 2] = idLength & 0xff;
  bytes[at + 3] = idLength >>> 8;
  const valueLength = end - start;
  bytes[at + 4] = valueLength & 0xff;
  bytes[at + 5] = (valueLength >>> 8) & 0xff;
  bytes[at + 6] = (valueLength >>> 16) & 0xff;
  bytes[at + 7] = valueLength >>> 24;
  return end;
}

/** Writes a type or id as UTF-8 at `at` and returns the offset after it. */
function writeName(scratch: Scratch, at: number, name: unknown, max: number, field: 'type' | 'id'): number {
  if (typeof name !== 'string') {
    throw new ValueError(field, `expected a string, got ${describe(name)}`);
  }
  const { length } = name;
  if (length > max) {
    throw new ValueError(field, `expected at most ${max} bytes of UTF-8, got ${length} or more`);
  }
  const bytes = scratch.reserve(at, length * 3);
  for (let index = 0; index < length; index++) {
    const unit = name.charCodeAt(index);
    if (unit > 0x7f) {
      return writeWideName(bytes, at, name, max, field);
    }
    bytes[at + index] = unit;
  }
  return at + length;
}

function writeWideName(bytes: Buffer, at: number, name: string, max: number, field: 'type' | 'id'): number {
  if (!isWellFormed(name)) {
    throw new ValueError(field, 'expected well-formed Unicode, got a lone surrogate');
  }
  const length = bytes.write(name, at, 'utf8');
  if (length > max) {
    throw new ValueError(field, `expected at most ${max} bytes of UTF-8, got ${length}`);
  }
  return at + length;
}

function asValueError(error: unknown, path: readonly string[]): ValueError {
  return error instanceof ValueError ? error : Refusal.from(error).toError(renderPath('', path));
}

function requireRecords(value: unknown, path: string): void {
  if (!isPlainObject(value)) {
    throw new ValueError(path, `expected an object, got ${describe(value)}`);
  }
}
