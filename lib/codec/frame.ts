/**
 * The frames that cross between JavaScript and the core, all integers little-endian. They live for one call and are
 * never stored; only the values inside them are (`docs/internals/format.md`).
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
import { TAG_NULL } from './format.js';
import { keyedObject } from './plain.js';
import { Refusal, renderPath } from './refusal.js';
import { Scratch } from './scratch.js';
import { describe, isPlainObject, lengthOf } from './shape.js';
import { isWellFormed } from './text.js';

const OP_DELETE = 0;
const OP_PUT = 1;
const SET_HEADER = 8;
const ANSWER_HEADER = 8;
const MAX_TYPE = 0xff;
const MAX_ID = 0xffff;
/** Of an encoded null: the version, two lengths and the tag. No other value of that length ends in its tag. */
const NULL_LENGTH = 4;
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
 * Types that are null or undefined are skipped; a record that is falsy is a delete.
 *
 * @throws ValueError naming the offending value; the scratch then holds nothing of use
 */
export function encodePatch(
  scratch: Scratch,
  data: Record<string, Record<string, unknown> | null | undefined>,
): number {
  scratch.acquire();
  let type: string | undefined;
  let id: string | undefined;
  try {
    let at = 0;
    for (type of namesIn(data)) {
      id = undefined;
      const records = data[type];
      if (records === null || records === undefined) {
        continue;
      }
      if (type === 'creds') {
        throw new Refusal('the credentials are no record of the key store: saveCreds stores them');
      }
      for (id of namesIn(records)) {
        // Baileys' own store removes a record whose value is falsy.
        at = writeEntry(scratch, at, type, id, records[id] || null);
      }
    }
    return at;
  } catch (error) {
    const path = [type, id].filter((name) => name !== undefined);
    throw asValueError(error, path.length === 0 ? 'keys.set' : renderPath('', path));
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
  let reading: RecordEntry | undefined;
  try {
    let at = 0;
    for (reading of records) {
      const { type, id, value } = reading;
      at = writeEntry(scratch, at, type, id, value);
    }
    return at;
  } catch (error) {
    throw asValueError(error, reading === undefined ? 'records' : pathOf(reading));
  } finally {
    scratch.release();
  }
}

/**
 * The names of records that `ids` are, as they are now: Baileys' own store takes a number for its decimal digits.
 *
 * @throws ValueError at what is no name
 */
export function namesOf(ids: unknown): string[] {
  let at = -1;
  try {
    if (!Array.isArray(ids)) {
      throw new Refusal(`expected an array of strings, got ${describe(ids)}`);
    }
    const length = lengthOf(ids);
    const names: string[] = [];
    for (at = 0; at < length; at++) {
      const id: unknown = ids[at];
      if (typeof id === 'string') {
        names.push(id);
      } else if (Number.isSafeInteger(id) || typeof id === 'bigint') {
        names.push(String(id));
      } else {
        throw new Refusal(`expected a string, got ${describe(id)}`);
      }
    }
    return names;
  } catch (error) {
    throw asValueError(error, at < 0 ? 'ids' : `ids[${at}]`);
  }
}

/**
 * Writes a get frame and returns its length. `ids` are what `namesOf` gave.
 *
 * @throws ValueError when `type` or an id cannot be the name of a record
 */
export function encodeGet(scratch: Scratch, type: string, ids: readonly string[]): number {
  scratch.acquire();
  let reading = -1;
  try {
    let at = writeType(scratch, 1, type);
    scratch.bytes[0] = at - 1;
    for (reading = 0; reading < ids.length; reading++) {
      const end = writeId(scratch, at + 2, ids[reading] as string);
      const bytes = scratch.bytes;
      const length = end - at - 2;
      bytes[at] = length & 0xff;
      bytes[at + 1] = length >>> 8;
      at = end;
    }
    return at;
  } catch (error) {
    throw asValueError(error, reading < 0 ? 'type' : `ids[${reading}]`);
  } finally {
    scratch.release();
  }
}

/** @throws ValueError when `type` cannot be the type of a record */
export function checkType(type: unknown): string {
  standalone.acquire();
  try {
    writeType(standalone, 0, type);
    return type as string;
  } catch (error) {
    throw asValueError(error, 'type');
  } finally {
    standalone.release();
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
    throw asValueError(error, root);
  } finally {
    standalone.release();
    if (standalone.bytes.length > KEPT_SIZE) {
      standalone = new Scratch();
    }
  }
}

let standalone = new Scratch();

function writeEntry(scratch: Scratch, at: number, type: string, id: string, value: unknown): number {
  const typeEnd = writeType(scratch, at + SET_HEADER, type);
  const start = writeId(scratch, typeEnd, id);
  let deleted = value === null || value === undefined;
  let end = start;
  if (!deleted) {
    end = scratch.encoder.encode(scratch, start, value);
    if (isNull(scratch.bytes, start, end)) {
      // Its toJSON returned null. A stored null could not be told from an absent record, so this deletes.
      deleted = true;
      end = start;
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

const isNull = (bytes: Buffer, start: number, end: number): boolean =>
  end - start === NULL_LENGTH && bytes[end - 1] === TAG_NULL;

function writeType(scratch: Scratch, at: number, type: unknown): number {
  if (type === '') {
    throw new Refusal('expected a type of at least one character');
  }
  return writeName(scratch, at, type, MAX_TYPE, 'a type');
}

const writeId = (scratch: Scratch, at: number, id: unknown): number =>
  writeName(scratch, at, id, MAX_ID, 'an id');

/** Writes a type or id as UTF-8 at `at` and returns the offset after it. */
function writeName(scratch: Scratch, at: number, name: unknown, max: number, what: string): number {
  if (typeof name !== 'string') {
    throw new Refusal(`expected ${what} that is a string, got ${describe(name)}`);
  }
  const { length } = name;
  if (length > max) {
    throw new Refusal(`expected ${what} of at most ${max} bytes of UTF-8, got ${length} or more`);
  }
  const bytes = scratch.reserve(at, length * 3);
  for (let index = 0; index < length; index++) {
    const unit = name.charCodeAt(index);
    if (unit > 0x7f) {
      return writeWideName(bytes, at, name, max, what);
    }
    bytes[at + index] = unit;
  }
  return at + length;
}

function writeWideName(bytes: Buffer, at: number, name: string, max: number, what: string): number {
  if (!isWellFormed(name)) {
    throw new Refusal(`expected ${what} of well-formed Unicode, got a lone surrogate`);
  }
  const length = bytes.write(name, at, 'utf8');
  if (length > max) {
    throw new Refusal(`expected ${what} of at most ${max} bytes of UTF-8, got ${length}`);
  }
  return at + length;
}

const asValueError = (error: unknown, root: string): ValueError =>
  error instanceof ValueError ? error : Refusal.from(error).toError(root);

/** How errors name a record: by type and id, the credentials by their type alone. */
const pathOf = ({ type, id }: RecordEntry): string => renderPath('', id === '' ? [type] : [type, id]);

/** The names in a part of a patch, which must be an object, so that none is overlooked. */
function namesIn(value: unknown): string[] {
  if (!isPlainObject(value)) {
    throw new Refusal(`expected an object, got ${describe(value)}`);
  }
  const names = Object.keys(value);
  if (names.length === 0 && Object.getOwnPropertySymbols(value).length > 0) {
    throw new Refusal('expected names that are strings, got a symbol');
  }
  return names;
}
