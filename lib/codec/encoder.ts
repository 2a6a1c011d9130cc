import { legacyBytes } from './buffer-json.js';
import { hasTooManyValues } from './count.js';
import { KEY_BYTES } from './dictionary.js';
import * as format from './format.js';
import { Refusal } from './refusal.js';
import { resolve, resolveRecord } from './resolve.js';
import { lengthOf } from './shape.js';
import { isWellFormed } from './text.js';
import * as views from './views.js';

// Names of this module, because transpilers turn imported ones into a call for each use.
const {
  FORMAT_VERSION,
  KEY_END,
  KEY_TEXT,
  MAX_DEPTH,
  MAX_SIZE,
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
  TAG_STRING,
  TAG_TRUE,
} = format;
const { asUint8Array, byteLengthOf, copyBytes, LOOP_COPY } = views;
const KEYS = KEY_BYTES;

/** Space for a key (1 + 5), a tag and its longest operand (1 + 8) and the end of the object (1). */
const STEP = 16;
/** Version and two varints of at most 5 bytes. */
const HEADER = 11;
const INITIAL_SIZE = 4096;
/** An encoder that grew beyond this for one value shrinks after it. */
const KEPT_SIZE = 1024 * 1024;

const float64 = new Float64Array(1);
const float64Bytes = new Uint8Array(float64.buffer);

const tooLarge = (): Refusal => new Refusal(`larger than ${MAX_SIZE} bytes`);

/** Where encoded values go. */
export interface Target {
  /** At least `extra` bytes after `at`, with what is before `at` kept. */
  reserve(at: number, extra: number): Buffer;
}

/** The encoding of one value in progress: structure bytes, pooled text and raw bytes, joined by `finish`. */
export class Encoder {
  private structure: Uint8Array = new Uint8Array(INITIAL_SIZE);
  private position = 0;
  private text = '';
  /** The first `rawCount` are in use; emptying the array itself would free its memory every time. */
  private readonly raw: (Uint8Array | undefined)[] = [];
  /** Of each as it was when it was met; its buffer may be resized, by a getter or by another thread. */
  private readonly rawLengths: number[] = [];
  private rawCount = 0;
  private rawLength = 0;

  /**
   * Appends one encoded value to `target` at `at` and returns the offset after it.
   *
   * @throws Refusal
   */
  encode(target: Target, at: number, value: unknown): number {
    this.position = 0;
    this.text = '';
    this.rawLength = 0;
    try {
      this.value(typeof value === 'object' && value !== null ? resolveRecord(value) : value, 0);
      return this.finish(target, at);
    } catch (error) {
      throw Refusal.from(error);
    } finally {
      this.clear();
    }
  }

  /** Releases the caller's value. */
  private clear(): void {
    this.text = '';
    if (this.structure.length > KEPT_SIZE) {
      this.structure = new Uint8Array(INITIAL_SIZE);
    }
    for (let index = 0; index < this.rawCount; index++) {
      this.raw[index] = undefined;
    }
    this.rawCount = 0;
  }

  private finish(target: Target, at: number): number {
    const { structure, text, raw } = this;
    const structureLength = this.position;
    if (hasTooManyValues(structure, 0, structureLength)) {
      throw new Refusal(`more than ${MAX_VALUES} values`);
    }
    // UTF-8 takes at most three bytes per unit, UTF-16 two.
    const bytes = target.reserve(at, HEADER + structureLength + text.length * 3 + this.rawLength);
    // Where the pool ends up if it is ASCII, which it nearly always is; else it is moved once its length is known.
    const expected = varintLength(text.length * 4);
    let textStart = at + 1 + varintLength(structureLength) + expected + structureLength;
    let textLength = 0;
    let encoding = POOL_LATIN1;
    if (text !== '') {
      textLength = bytes.write(text, textStart, 'utf8');
      if (textLength !== text.length) {
        encoding = POOL_UTF8;
        if (!isWellFormed(text)) {
          encoding = POOL_UTF16;
          textLength = bytes.write(text, textStart, 'utf16le');
        }
      }
    }
    const pool = textLength * 4 + encoding;
    const shift = varintLength(pool) - expected;
    if (shift !== 0) {
      bytes.copyWithin(textStart + shift, textStart, textStart + textLength);
      textStart += shift;
    }
    bytes[at] = FORMAT_VERSION;
    let position = writeVarint(bytes, at + 1, structureLength);
    position = writeVarint(bytes, position, pool);
    const whole = structureLength > LOOP_COPY ? structure.subarray(0, structureLength) : structure;
    copyBytes(whole, structureLength, bytes, position);
    position = textStart + textLength;
    for (let index = 0; index < this.rawCount; index++) {
      const part = raw[index] as Uint8Array;
      const length = this.rawLengths[index] as number;
      copyBytes(part, length, bytes, position);
      position += length;
    }
    if (position > MAX_SIZE) {
      throw tooLarge();
    }
    return position;
  }

  private value(value: unknown, depth: number): void {
    switch (typeof value) {
      case 'string':
        this.string(value);
        break;
      case 'number':
        this.number(value);
        break;
      case 'object':
        if (value === null) {
          this.structure[this.position++] = TAG_NULL;
        } else if (Array.isArray(value)) {
          this.array(value, depth + 1);
        } else if (ArrayBuffer.isView(value)) {
          this.bytes(value);
        } else {
          this.object(value as Record<string, unknown>, depth + 1);
        }
        break;
      case 'boolean':
        this.structure[this.position++] = value ? TAG_TRUE : TAG_FALSE;
        break;
      case 'undefined':
        this.structure[this.position++] = TAG_NULL;
        break;
      case 'bigint':
        this.bigint(value);
        break;
      default:
        throw new Refusal(`a ${typeof value} cannot be stored`);
    }
  }

  private object(source: Record<string, unknown>, depth: number): void {
    if (depth > MAX_DEPTH) {
      throw new Refusal(`nested deeper than ${MAX_DEPTH} levels`);
    }
    const keys = Object.keys(source);
    let key = keys[0] ?? '';
    try {
      const legacy = legacyBytes(source, keys);
      if (legacy !== undefined) {
        this.bytes(legacy);
        return;
      }
      this.structure[this.position++] = TAG_OBJECT;
      for (let index = 0; index < keys.length; index++) {
        key = keys[index] as string;
        let value = source[key];
        if (typeof value === 'object' && value !== null) {
          value = resolve(value, key);
        }
        if (value === undefined) {
          continue;
        }
        this.ensureSpace();
        const code = KEYS.get(key);
        if (code !== undefined) {
          this.structure[this.position++] = code;
        } else {
          this.structure[this.position++] = KEY_TEXT;
          this.pooled(key);
        }
        this.value(value, depth);
      }
      this.ensureSpace();
      this.structure[this.position++] = KEY_END;
    } catch (error) {
      throw Refusal.from(error).within(source, key);
    }
  }

  private array(source: readonly unknown[], depth: number): void {
    if (depth > MAX_DEPTH) {
      throw new Refusal(`nested deeper than ${MAX_DEPTH} levels`);
    }
    const length = lengthOf(source);
    if (length > MAX_SIZE) {
      throw tooLarge();
    }
    this.structure[this.position++] = TAG_ARRAY;
    this.varint(length);
    let index = 0;
    try {
      for (; index < length; index++) {
        const value = source[index];
        this.ensureSpace();
        this.value(typeof value === 'object' && value !== null ? resolve(value, index) : value, depth);
      }
      this.ensureSpace();
    } catch (error) {
      throw Refusal.from(error).within(source, index);
    }
  }

  private string(value: string): void {
    if (value.length < TAG_SMALL_INT - TAG_SHORT_STRING) {
      this.structure[this.position++] = TAG_SHORT_STRING + value.length;
      this.text += value;
    } else {
      this.structure[this.position++] = TAG_STRING;
      this.pooled(value);
    }
  }

  private pooled(text: string): void {
    this.varint(text.length);
    if (this.text.length + text.length > MAX_SIZE) {
      throw tooLarge();
    }
    this.text += text;
  }

  private number(value: number): void {
    if ((value & 63) === value && !Object.is(value, -0)) {
      this.structure[this.position++] = TAG_SMALL_INT + value;
    } else if (Number.isSafeInteger(value) && value !== 0) {
      this.structure[this.position++] = value < 0 ? TAG_NEGATIVE : TAG_POSITIVE;
      this.varint(value < 0 ? -1 - value : value);
    } else if (Number.isFinite(value)) {
      this.structure[this.position++] = TAG_DOUBLE;
      float64[0] = value;
      for (let index = 0; index < 8; index++) {
        this.structure[this.position++] = float64Bytes[index] as number;
      }
    } else {
      this.structure[this.position++] = TAG_NULL;
    }
  }

  private bigint(value: bigint): void {
    this.structure[this.position++] = TAG_BIGINT;
    this.pooled(value.toString(16));
  }

  private bytes(view: ArrayBufferView): void {
    const part = asUint8Array(view);
    const length = byteLengthOf(part);
    this.structure[this.position++] = TAG_BYTES;
    this.varint(length);
    this.rawLength += length;
    if (this.rawLength > MAX_SIZE) {
      throw tooLarge();
    }
    this.rawLengths[this.rawCount] = length;
    this.raw[this.rawCount++] = part;
  }

  private varint(value: number): void {
    this.position = writeVarint(this.structure, this.position, value);
  }

  private ensureSpace(): void {
    if (this.position + STEP > this.structure.length) {
      if (this.position > MAX_SIZE) {
        throw tooLarge();
      }
      const larger = new Uint8Array(this.structure.length * 2);
      larger.set(this.structure);
      this.structure = larger;
    }
  }
}

/** LEB128 of a safe integer from 0; returns the offset after it. */
function writeVarint(target: Uint8Array, at: number, value: number): number {
  let rest = value;
  let position = at;
  // Beyond 32 bits the bit operators would cut it off.
  while (rest > 0x7fffffff) {
    target[position++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest > 127) {
    target[position++] = (rest & 127) | 0x80;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 127; rest >>>= 7) {
    length++;
  }
  return length;
}
