import { types } from 'node:util';
import { Refusal } from './refusal.js';
import { describe } from './shape.js';
import { bytesIn } from './views.js';

/** True of protobufjs messages, static or reflected; their toJSON turns bytes into base64 and Long into text. */
function isProtobufMessage(value: object): boolean {
  const { constructor: type } = value as { constructor?: unknown };
  if (typeof type !== 'function') {
    return false;
  }
  const { encode, decode, fromObject } = type as unknown as Record<string, unknown>;
  return typeof encode === 'function' && typeof decode === 'function' && typeof fromObject === 'function';
}

/** True of `long` integers of any copy of the package. */
const isLong = (value: object): boolean => (value as { __isLong__?: unknown }).__isLong__ === true;

/**
 * What is stored in place of an object: the result of its toJSON as JSON would take it, the primitive inside a
 * boxed one, the bytes of an ArrayBuffer, or the object itself. Views, protobufjs messages and Long stand for
 * themselves whatever their toJSON says.
 *
 * @throws Refusal for a promise, and for a buffer whose bytes are gone
 */
export function resolve(value: object, key: string | number): unknown {
  if (ArrayBuffer.isView(value)) {
    return value;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') {
    if (!isProtobufMessage(value) && !isLong(value)) {
      const result = (value as { toJSON(key: string): unknown }).toJSON(String(key));
      return typeof result === 'object' && result !== null && !ArrayBuffer.isView(result)
        ? unwrap(result)
        : result;
    }
  }
  return unwrap(value);
}

/**
 * The same for a record as a whole. A Map or a Set inside of one is what JSON makes of it, an object without
 * properties; a record that is one would be lost.
 *
 * @throws Refusal
 */
export function resolveRecord(value: object): unknown {
  const result = resolve(value, '');
  if (types.isMap(result) || types.isSet(result) || types.isWeakMap(result) || types.isWeakSet(result)) {
    throw new Refusal(`a ${describe(result)} cannot be stored`);
  }
  return result;
}

function unwrap(value: object): unknown {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === Array.prototype || prototype === null) {
    return value;
  }
  if (types.isAnyArrayBuffer(value)) {
    return bytesIn(value);
  }
  if (types.isPromise(value)) {
    throw new Refusal('a promise cannot be stored: await it first');
  }
  if (types.isNumberObject(value)) {
    return Number(value);
  }
  if (types.isStringObject(value)) {
    return String(value);
  }
  if (types.isBooleanObject(value)) {
    return Boolean.prototype.valueOf.call(value);
  }
  if (types.isBigIntObject(value)) {
    return BigInt.prototype.valueOf.call(value);
  }
  return value;
}
