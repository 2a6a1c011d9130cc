import { isUtf8 } from 'node:buffer';
import { CorruptRecordError } from '../errors.js';
import { hasTooManyValues } from './count.js';
import { DICTIONARY } from './dictionary.js';
import * as format from './format.js';
import { keyedObject, knownObject } from './plain.js';

// Constants of this module, because transpilers turn imported ones into a call for each use (tsx: 7 times slower).
const {
  FORMAT_VERSION,
  KEY_END,
  KEY_FIRST,
  KEY_TEXT,
  MAX_DEPTH,
  MAX_VALUES,
  POOL_LATIN1,
  POOL_UTF8,
  POOL_UTF16,
  TAG_ARRAY,
  TAG_BIGINT,
  TAG_BYTES,
  TAG_DOUBLE,
  TAG_FALSE,
  TAG_NEGATIVE,
  TAG_NULL,
  TAG_OBJECT,
  TAG_POSITIVE,
  TAG_SHORT_STRING,
  TAG_SMALL_INT,
  TAG_SMALL_INT_END,
  TAG_STRING,
  TAG_TRUE,
} = format;
const KEYS = DICTIONARY;

const EMPTY: Buffer = Buffer.alloc(0);
/** From this many keys outside the dictionary, an object is treated as a map. */
const MANY_KEYS = 6;
const HEX = /^(?:0|-?[1-9a-f][0-9a-f]*)$/;

/**
 * Decodes one value. Total: whatever the bytes, it returns a value or throws CorruptRecordError, in time and memory
 * linear in their number. Every count and length is checked against what is left before it is believed.
 */
class Decoder {
  private bytes = EMPTY;
  private position = 0;
  private end = 0;
  private text = '';
  private textPosition = 0;
  private raw = EMPTY;
  private rawPosition = 0;

  decode(bytes: Buffer, start: number, end: number): unknown {
    this.open(bytes, start, end);
    const value = this.value(0);
    if (
      this.position !== this.end ||
      this.textPosition !== this.text.length ||
      this.rawPosition !== this.raw.length
    ) {
      throw new CorruptRecordError('it does not fill its bytes');
    }
    return value;
  }

  /** Releases the last value and its bytes. */
  clear(): void {
    this.bytes = EMPTY;
    this.raw = EMPTY;
    this.text = '';
  }

  private open(bytes: Buffer, start: number, end: number): void {
    if (end <= start) {
      throw new CorruptRecordError('it is empty');
    }
    if (bytes[start] !== FORMAT_VERSION) {
      throw new CorruptRecordError(`format version ${bytes[start]} is not known to this release`);
    }
    this.bytes = bytes;
    this.position = start + 1;
    this.end = end;
    const structureLength = this.varint();
    const pool = this.varint();
    const encoding = pool % 4;
    const textLength = (pool - encoding) / 4;
    const textStart = this.position + structureLength;
    const rawStart = textStart + textLength;
    if (rawStart > end) {
      throw new CorruptRecordError('it is cut short');
    }
    if (hasTooManyValues(bytes, this.position, textStart)) {
      throw new CorruptRecordError(`more than ${MAX_VALUES} values`);
    }
    this.end = textStart;
    this.text = textLength === 0 ? '' : readPool(bytes, textStart, rawStart, encoding);
    this.textPosition = 0;
    this.rawPosition = 0;
    if (rawStart === end) {
      this.raw = EMPTY;
    } else {
      // One fresh copy for all Buffers of the value; they take disjoint parts of it.
      this.raw = Buffer.allocUnsafe(end - rawStart);
      bytes.copy(this.raw, 0, rawStart, end);
    }
  }

  private value(depth: number): unknown {
    const tag = this.byte();
    if (tag >= TAG_SHORT_STRING) {
      if (tag < TAG_SMALL_INT) {
        return this.pooled(tag - TAG_SHORT_STRING);
      }
      if (tag < TAG_SMALL_INT_END) {
        return tag - TAG_SMALL_INT;
      }
    }
    switch (tag) {
      case TAG_NULL:
        return null;
      case TAG_FALSE:
        return false;
      case TAG_TRUE:
        return true;
      case TAG_POSITIVE:
        return this.varint();
      case TAG_NEGATIVE:
        return -1 - this.varint();
      case TAG_DOUBLE:
        return this.double();
      case TAG_BIGINT:
        return this.bigint();
      case TAG_STRING:
        return this.pooled(this.varint());
      case TAG_BYTES:
        return this.buffer();
      case TAG_ARRAY:
        return this.array(depth + 1);
      case TAG_OBJECT:
        return this.object(depth + 1);
      default:
        throw new CorruptRecordError(`tag ${tag} is not known to this release`);
    }
  }

  private object(depth: number): Record<string, unknown> {
    checkDepth(depth);
    let code = this.byte();
    let result = code === KEY_TEXT ? keyedObject() : knownObject();
    let unknownKeys = 0;
    for (; code !== KEY_END; code = this.byte()) {
      if (code === KEY_TEXT) {
        const key = this.pooled(this.varint());
        const value = this.value(depth);
        if (++unknownKeys === MANY_KEYS) {
          result = asDictionary(result);
        }
        setOwn(result, key, value);
      } else {
        const key = KEYS[code - KEY_FIRST];
        if (key === undefined) {
          throw new CorruptRecordError(`key ${code} is not known to this release`);
        }
        result[key] = this.value(depth);
      }
    }
    return result;
  }

  private array(depth: number): unknown[] {
    checkDepth(depth);
    const count = this.varint();
    if (count > this.end - this.position) {
      throw new CorruptRecordError('it is cut short');
    }
    // Not allocated up front: nested counts that each fit would together claim far more than there is.
    const result: unknown[] = [];
    for (let index = 0; index < count; index++) {
      result.push(this.value(depth));
    }
    return result;
  }

  private pooled(length: number): string {
    const start = this.textPosition;
    const stop = start + length;
    if (stop > this.text.length) {
      throw new CorruptRecordError('it is cut short');
    }
    this.textPosition = stop;
    return this.text.substring(start, stop);
  }

  private buffer(): Buffer {
    const start = this.rawPosition;
    const stop = start + this.varint();
    if (stop > this.raw.length) {
      throw new CorruptRecordError('it is cut short');
    }
    this.rawPosition = stop;
    return this.raw.subarray(start, stop);
  }

  private double(): number {
    const at = this.position;
    if (at + 8 > this.end) {
      throw new CorruptRecordError('it is cut short');
    }
    this.position = at + 8;
    return this.bytes.readDoubleLE(at);
  }

  private bigint(): bigint {
    const text = this.pooled(this.varint());
    if (!HEX.test(text)) {
      throw new CorruptRecordError('a bigint is not hexadecimal');
    }
    try {
      return text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`);
    } catch {
      throw new CorruptRecordError('a bigint is larger than the engine allows');
    }
  }

  private byte(): number {
    if (this.position >= this.end) {
      throw new CorruptRecordError('it is cut short');
    }
    return this.bytes[this.position++] as number;
  }

  private varint(): number {
    let byte = this.byte();
    if (byte < 0x80) {
      return byte;
    }
    let result = byte & 0x7f;
    let scale = 128;
    do {
      byte = this.byte();
      result += (byte & 0x7f) * scale;
      scale *= 128;
      if (result > Number.MAX_SAFE_INTEGER || scale > 2 ** 56) {
        throw new CorruptRecordError('an integer is out of range');
      }
    } while (byte >= 0x80);
    return result;
  }
}

function checkDepth(depth: number): void {
  if (depth > MAX_DEPTH) {
    throw new CorruptRecordError(`nested deeper than ${MAX_DEPTH} levels`);
  }
}

function readPool(bytes: Buffer, start: number, end: number, encoding: number): string {
  switch (encoding) {
    case POOL_LATIN1:
      return bytes.toString('latin1', start, end);
    case POOL_UTF8:
      if (isUtf8(bytes.subarray(start, end))) {
        return bytes.toString('utf8', start, end);
      }
      break;
    case POOL_UTF16:
      if ((end - start) % 2 === 0) {
        return bytes.toString('utf16le', start, end);
      }
      break;
  }
  throw new CorruptRecordError('its text is malformed');
}

/** Sets an own property; assigning `__proto__` would change the object's prototype and lose the value. */
export function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__') {
    Object.defineProperty(target, key, { value, configurable: true, enumerable: true, writable: true });
  } else {
    target[key] = value;
  }
}

/**
 * A copy of `source` that the engine keeps as a hash table. Each new key of an ordinary object costs a hidden class,
 * over a microsecond, and keys such as jids and MACs are all new.
 */
function asDictionary(source: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = Object.setPrototypeOf(Object.create(null), Object.prototype);
  for (const key of Object.keys(source)) {
    setOwn(result, key, source[key]);
  }
  return result;
}

// Decoding runs no foreign code, so one decoder serves the thread.
const decoder = new Decoder();

/**
 * Decodes the value at `bytes[start, end)` to fresh objects and Buffers that share nothing with `bytes`.
 *
 * @throws CorruptRecordError
 */
export function decodeValue(bytes: Buffer, start = 0, end: number = bytes.length): unknown {
  try {
    return decoder.decode(bytes, start, end);
  } finally {
    decoder.clear();
  }
}
