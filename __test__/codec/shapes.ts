import fc from 'fast-check';
import { DICTIONARY } from '../../lib/codec/dictionary.js';

export const EACH = { numRuns: 3000 };

/** Text of every kind: ASCII, Latin-1, beyond the BMP, lone surrogates. */
export const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) }),
  fc.string({ minLength: 60, maxLength: 200 }),
);

export const key = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...DICTIONARY) },
  { weight: 2, arbitrary: text },
  {
    weight: 1,
    arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', 'length', '0', '1', '17', ''),
  },
);

/** Numbers that JSON keeps, and those it writes as null; -0 has a test of its own. */
export const number = fc
  .oneof(
    fc.integer({ min: -70, max: 70 }),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double(),
    fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 53), Number.MAX_VALUE, Number.MIN_VALUE, Infinity, NaN),
  )
  .map((value) => (Object.is(value, -0) ? 0 : value));

export const bytes = fc
  .uint8Array({ maxLength: 100 })
  .chain((array) => fc.boolean().map((asBuffer) => (asBuffer ? Buffer.from(array) : array)));

/** True of objects that Baileys' reviver takes for the indexes of a byte array, whatever they are. */
function mistakenForBytes(object: Record<string, unknown>): boolean {
  const written = Object.entries(object).filter(([, value]) => value !== undefined);
  return (
    written.length > 0 &&
    written.every(([name, value]) => !Number.isNaN(Number.parseInt(name, 10)) && typeof value === 'number')
  );
}

/** A plain object; `__proto__` becomes a property like any other. */
export function plain(entries: [string, unknown][]): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of entries) {
    Object.defineProperty(result, name, { value, configurable: true, enumerable: true, writable: true });
  }
  return result;
}

/** Values on which the codec and BufferJSON agree to the bit. */
export const jsonValue = fc.letrec<{ value: unknown; object: Record<string, unknown>; array: unknown[] }>(
  (tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      text,
      number,
      fc.boolean(),
      fc.constantFrom(null, undefined),
      bytes,
      tie('object'),
      tie('array'),
    ),
    object: fc
      .array(fc.tuple(key, tie('value')), { maxLength: 12 })
      .map(plain)
      .map((object) => (mistakenForBytes(object) ? { ...object, text: 'x' } : object)),
    array: fc.array(tie('value'), { maxLength: 12 }),
  }),
);
