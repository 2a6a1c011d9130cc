import { Refusal } from './refusal.js';

/**
 * True of an object whose properties are all there is to it: of `{…}`, of `Object.create(null)`, and of those of
 * another realm, as test runners make them. False of a Map, a Date, a promise and any other instance of a class.
 */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return (
    prototype === Object.prototype ||
    prototype === null ||
    // Another realm's Object.prototype; an array's prototype has a prototype itself.
    (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf'))
  );
}

/** What a wrong value is, without showing it. */
export function describe(value: unknown): string {
  if (value === null || value === '') {
    return value === null ? 'null' : 'an empty string';
  }
  if (typeof value !== 'object') {
    return typeof value;
  }
  try {
    const name: unknown = value.constructor?.name;
    return typeof name === 'string' && name !== '' ? name : 'object';
  } catch {
    return 'object';
  }
}

/** The length of an array, read once: that of a proxy may be anything, and differ the next time. */
export function lengthOf(list: readonly unknown[]): number {
  const { length } = list;
  if (!Number.isSafeInteger(length) || length < 0) {
    throw new Refusal('its length is not a whole number');
  }
  return length;
}
