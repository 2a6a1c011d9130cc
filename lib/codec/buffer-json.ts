import { CorruptRecordError } from '../errors.js';
import { lengthOf } from './shape.js';
import { asUint8Array } from './views.js';

const isByte = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && value <= 255 && Number.isInteger(value);

/**
 * The bytes that `source` stands for, if it is one of the shapes JSON leaves of a Buffer or Uint8Array:
 * `{type: 'Buffer', data: base64 | bytes}` or `{"0": byte, "1": byte, …}`. Otherwise undefined.
 *
 * Baileys' own reviver also turns objects such as `{"5": 1}` or `{"4@lid": 300}` into a Buffer and so destroys
 * them; here the keys must be exactly 0 to n-1 and the values bytes, which is all that JSON ever makes of an array.
 */
export function legacyBytes(source: object, keys: readonly string[]): Uint8Array | undefined {
  const record = source as Record<string, unknown>;
  const first = keys[0];
  if (
    first === undefined ||
    (first !== '0' && first !== 'type' && first !== 'data' && record[first] !== undefined)
  ) {
    return undefined;
  }
  // JSON knows nothing of a property that is undefined.
  const present = keys.filter((key) => record[key] !== undefined);
  if (present[0] === '0') {
    return indexedBytes(record, present);
  }
  if (present.length !== 2) {
    return undefined;
  }
  const { type, data } = source as { type?: unknown; data?: unknown };
  if (type !== 'Buffer') {
    return undefined;
  }
  if (typeof data === 'string') {
    return Buffer.from(data, 'base64');
  }
  if (ArrayBuffer.isView(data)) {
    return asUint8Array(data);
  }
  return Array.isArray(data) ? listedBytes(data) : undefined;
}

function listedBytes(source: readonly unknown[]): Uint8Array | undefined {
  const length = lengthOf(source);
  const bytes: number[] = [];
  // One look at each, and none behind the first that is no byte: a list may be sparse, and a proxy of one may change.
  for (let index = 0; index < length; index++) {
    const value = source[index];
    if (!isByte(value)) {
      return undefined;
    }
    bytes.push(value);
  }
  return Buffer.from(bytes);
}

function indexedBytes(source: Record<string, unknown>, keys: readonly string[]): Uint8Array | undefined {
  // Integer keys come first and in ascending order, so the last one being n-1 makes them 0 to n-1.
  if (keys[keys.length - 1] !== String(keys.length - 1)) {
    return undefined;
  }
  const bytes = Buffer.allocUnsafe(keys.length);
  for (let index = 0; index < keys.length; index++) {
    const value = source[index];
    if (!isByte(value)) {
      return undefined;
    }
    bytes[index] = value;
  }
  return bytes;
}

/**
 * Reads JSON text written with Baileys' `BufferJSON.replacer`: a value ready to be stored, Buffers revived.
 *
 * @throws CorruptRecordError when the text is not JSON, e.g. a torn file. The parser's own message quotes the
 * text, which may hold keys, so it is not passed on.
 */
export function reviveBufferJson(text: string): unknown {
  try {
    return JSON.parse(text, (_key, value: unknown) =>
      typeof value === 'object' && value !== null && !Array.isArray(value)
        ? (legacyBytes(value, Object.keys(value)) ?? value)
        : value,
    );
  } catch {
    throw new CorruptRecordError('it is not valid JSON');
  }
}
