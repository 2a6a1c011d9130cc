/** Values made to deceive: whatever they do while they are read, what is written can be read back, or is refused. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { decodeValue, encodePatch, encodeValue, Scratch, ValueError } from '../../lib/codec/index.js';
import { jsonValue, plain } from './shapes.js';
import { readSetFrame } from './wire.js';

type Resizable = ArrayBuffer & { resize(to: number): void };

const LENGTHS = [-1, 0, 1, 1.5, 7, 40, 41, 500, 2 ** 31, 2 ** 53, Number.NaN, '8', null, undefined];
const size = fc.constantFrom(0, 1, 8, 40, 41, 400);
const claim = fc.constantFrom(...LENGTHS);

/** Bytes, and what changes their length when it is read after them. */
const resized = fc.tuple(size, size).map(([from, to]) => {
  const buffer = Reflect.construct(ArrayBuffer, [from, { maxByteLength: 512 }]) as Resizable;
  return [new Uint8Array(buffer), { toJSON: () => buffer.resize(to) }, new Uint8Array(buffer)];
});
const transferred = size.map((length) => {
  const buffer = new ArrayBuffer(length);
  const transfer = () => structuredClone(buffer, { transfer: [buffer] });
  return [new Uint8Array(buffer), new DataView(buffer), { toJSON: () => void transfer() }, buffer];
});
const lyingBytes = fc
  .tuple(size, claim)
  .map(([length, claimed]) => Object.defineProperty(Buffer.alloc(length, 1), 'length', { value: claimed }));
const lyingClass = fc.tuple(size, claim).map(([length, claimed]) => {
  class Liar extends Uint8Array {}
  for (const name of ['length', 'byteLength', 'byteOffset', 'buffer', 'subarray']) {
    Object.defineProperty(Liar.prototype, name, { get: () => claimed });
  }
  return new Liar(length);
});
const lyingList = fc.tuple(fc.array(jsonValue.value, { maxLength: 4 }), claim).map(
  ([list, claimed]) =>
    new Proxy(list, {
      get: (target, key) => (key === 'length' ? claimed : Reflect.get(target, key)),
    }),
);
const growingList = fc.array(fc.integer(), { maxLength: 4 }).map(
  (list) =>
    new Proxy(list, {
      get: (target, key) => {
        target.push(1);
        return Reflect.get(target, key);
      },
    }),
);
/** Another value at each look. */
const shifty = fc.array(jsonValue.value, { minLength: 2, maxLength: 5 }).map((values) => {
  let looks = 0;
  const get = () => values[looks++ % values.length];
  return Object.defineProperties(
    {},
    Object.fromEntries(['type', 'data', '0', 'x'].map((name) => [name, { get, enumerable: true }])),
  );
});
const others = fc.constantFrom<() => unknown>(
  () => Promise.resolve(1),
  () => new Map([[1, 2]]),
  () => Symbol('x'),
  () => () => 1,
  () => Object(5n),
  () => new Array(3),
  () => Object(Symbol('x')),
  () =>
    new (class {
      own = 1;
    })(),
  () => runInNewContext('({ bytes: new Uint8Array(3), list: [1], at: new Date(0), text: Object("x") })'),
  () => Object.setPrototypeOf(new Float64Array(8), Buffer.prototype),
  () => Object.setPrototypeOf(new DataView(new ArrayBuffer(8)), Uint8Array.prototype),
  () => new Proxy(Buffer.alloc(3), {}),
  () => Object.defineProperty({}, 'x', { enumerable: true, get: () => assert.fail('read') }),
);
const hostile = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    jsonValue.value,
    resized,
    transferred,
    lyingBytes,
    lyingClass,
    lyingList,
    growingList,
    shifty,
    others.map((make) => make()),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(fc.string({ maxLength: 5 }), tie('value')), { maxLength: 5 }).map(plain),
  ),
})).value;

describe('a value made to deceive', () => {
  const reference = { text: 'abc', bytes: Buffer.from('xyz'), list: [1, 2.5, null] };
  const expected = encodeValue(reference);

  it('is refused, or gives bytes that can be read and that encode as themselves', () => {
    let stored = 0;
    fc.assert(
      fc.property(hostile, (value) => {
        let bytes: Buffer;
        try {
          bytes = encodeValue(value);
        } catch (error) {
          assert.ok(error instanceof ValueError, String(error));
          assert.deepEqual(encodeValue(reference), expected, 'a refusal leaves nothing behind');
          return;
        }
        stored += 1;
        assert.deepEqual(encodeValue(decodeValue(bytes)), bytes);
      }),
      { numRuns: 4000 },
    );
    assert.ok(stored > 500, `${stored} were stored`);
  });

  it('never reaches beyond its own place in a frame', () => {
    const scratch = new Scratch();
    fc.assert(
      fc.property(hostile, (value) => {
        let length: number;
        try {
          length = encodePatch(scratch, {
            before: { a: reference },
            it: { a: value },
            after: { a: reference },
          });
        } catch (error) {
          assert.ok(error instanceof ValueError, String(error));
          return;
        }
        const entries = readSetFrame(scratch.bytes.subarray(0, length));
        assert.equal(entries.length, 3);
        assert.deepEqual(entries[0]?.value, expected);
        assert.deepEqual(entries[2]?.value, expected);
        if (entries[1]?.op === 'put') {
          decodeValue(entries[1].value);
        }
      }),
      { numRuns: 4000 },
    );
  });
});
