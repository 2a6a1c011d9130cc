import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import fc from 'fast-check';
import { DICTIONARY } from '../../lib/codec/dictionary.js';
import { decodeValue, encodeValue, reviveBufferJson } from '../../lib/codec/index.js';
import { EACH, jsonValue, plain, text } from './shapes.js';

type Baileys = typeof import('baileys', { with: { 'resolution-mode': 'import' }});
let baileys: Baileys;
before(async () => {
  baileys = await import('baileys');
});

const roundTrip = (value: unknown): unknown => decodeValue(encodeValue(value));
const toJson = (value: unknown): string => JSON.stringify(value ?? null, baileys.BufferJSON.replacer);
const throughJson = (value: unknown): unknown => JSON.parse(toJson(value), baileys.BufferJSON.reviver);

describe('values come back as they do from BufferJSON', () => {
  it('for any JSON-like value with bytes in it', () => {
    fc.assert(
      fc.property(jsonValue.value, (value) => {
        assert.deepEqual(roundTrip(value), throughJson(value));
      }),
      EACH,
    );
  });

  it('and what comes back is stable: encoding it again gives the same bytes', () => {
    fc.assert(
      fc.property(jsonValue.value, (value) => {
        const once = encodeValue(value);
        assert.deepEqual(encodeValue(decodeValue(once)), once);
      }),
      EACH,
    );
  });

  it('also when the value arrives as text written with BufferJSON', () => {
    fc.assert(
      fc.property(jsonValue.value, (value) => {
        const written = toJson(value);
        const revived = reviveBufferJson(written);
        assert.deepEqual(revived, throughJson(value));
        assert.deepEqual(roundTrip(revived), revived);
        assert.deepEqual(roundTrip(JSON.parse(written)), revived, 'the shapes are revived on encode too');
      }),
      EACH,
    );
  });

  it('for bytes as JSON leaves them beside properties that are undefined', () => {
    const nothing = undefined;
    for (const value of [
      { 0: 7, 1: 8, private: nothing },
      { 0: 7, 1: nothing },
      { type: 'Buffer', data: [7, 8], extra: nothing },
      { extra: nothing, type: 'Buffer', data: [7, 8] },
    ]) {
      assert.deepEqual(roundTrip(value), throughJson(value));
    }
    assert.deepEqual(roundTrip({ type: 'Buffer', data: 'Bwg=', extra: nothing }), Buffer.from([7, 8]));
  });

  it('keeps the order of keys', () => {
    const value = { zeta: 1, public: 2, alpha: 3, private: 4 };
    assert.deepEqual(Object.keys(roundTrip(value) as object), ['zeta', 'public', 'alpha', 'private']);
  });

  it('for holes, Dates, toJSON, boxed primitives, Map, Set and class instances', () => {
    class Point {
      x = 1;
      get y(): number {
        return 2;
      }
    }
    const values: unknown[] = [
      // biome-ignore lint/suspicious/noSparseArray: holes are what is tested
      [1, , 3],
      { at: new Date(1_700_000_000_000), bad: new Date(Number.NaN) },
      { a: { toJSON: (name: string) => `called for ${name}` }, list: [{ toJSON: (name: string) => name }] },
      { gone: { toJSON: () => undefined }, list: [{ toJSON: () => undefined }] },
      { bytes: { toJSON: () => new Uint8Array([1, 2]) }, nested: { toJSON: () => ({ deep: [1] }) } },
      [Object(1), Object('text'), Object(true), Object(false)],
      {
        map: new Map([[1, 2]]),
        set: new Set([1]),
        error: new Error('x'),
        pattern: /x/,
        symbol: Object(Symbol('s')),
      },
      new Point(),
      Object.create({ inherited: 1 }),
      Object.assign(Object.create(null), { bare: true }),
    ];
    for (const value of values) {
      assert.deepEqual(roundTrip(value), throughJson(value));
    }
  });
});

describe('where the codec keeps what JSON loses', () => {
  it('numbers to the bit, -0 and bigint', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }).filter(Number.isFinite), (value) => {
        assert.ok(Object.is(roundTrip(value), value));
      }),
      EACH,
    );
    fc.assert(
      fc.property(fc.bigInt(), (value) => {
        assert.equal(roundTrip(value), value);
        assert.deepEqual(roundTrip({ list: [Object(value)] }), { list: [value] });
      }),
      { numRuns: 500 },
    );
    for (const value of [0n, -1n, 2n ** 4000n, -(2n ** 64n)]) {
      assert.equal(roundTrip(value), value);
    }
    assert.ok(Object.is(roundTrip(-0), -0));
  });

  it('text of any units, several strings sharing one pool', () => {
    fc.assert(
      fc.property(fc.array(text), (list) => {
        assert.deepEqual(roundTrip(list), list);
        const keyed = plain(list.map((each, index) => [`${each}/${index}`, each]));
        assert.deepEqual(roundTrip(keyed), keyed);
      }),
      EACH,
    );
    // Two halves of a pair in neighbouring strings must not become one character.
    assert.deepEqual(roundTrip(['\ud83d', '\ude00']), ['\ud83d', '\ude00']);
  });

  it('every kind of view and ArrayBuffer, as Buffer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(3), (data, offset) => {
        const whole = new Uint8Array(offset * 8 + data.length);
        whole.set(data, offset * 8);
        const views = [
          whole.buffer.slice(offset * 8),
          new DataView(whole.buffer, offset * 8),
          new Int8Array(whole.buffer, offset * 8),
          new Uint8ClampedArray(whole.buffer, offset * 8),
          whole.subarray(offset * 8),
        ];
        for (const back of roundTrip(views) as unknown[]) {
          assert.ok(Buffer.isBuffer(back));
          assert.deepEqual(back, Buffer.from(data));
        }
      }),
      { numRuns: 500 },
    );
    const doubles = new Float64Array([1.5, -2]);
    assert.deepEqual(roundTrip(doubles), Buffer.from(doubles.buffer));
    assert.deepEqual(roundTrip(new SharedArrayBuffer(2)), Buffer.alloc(2));
  });

  it('objects with numeric keys that are no byte array', () => {
    for (const value of [
      { 5: 1 },
      { '4@lid': 30 },
      { 0: 256 },
      { 0: 1.5 },
      { 0: 1, 2: 3 },
      { 0: 1, extra: 2 },
    ]) {
      assert.deepEqual(roundTrip(value), value);
      assert.deepEqual(reviveBufferJson(JSON.stringify(value)), value);
    }
  });

  it('protobufjs messages and Long by their own fields, bytes as bytes', () => {
    const { proto } = baileys;
    const message = proto.ADVSignedDeviceIdentity.decode(
      proto.ADVSignedDeviceIdentity.encode({
        details: Buffer.from('details'),
        accountSignature: Buffer.alloc(64, 7),
      }).finish(),
    );
    assert.deepEqual(roundTrip({ account: message }), {
      account: { details: Buffer.from('details'), accountSignature: Buffer.alloc(64, 7) },
    });
    const key = proto.Message.AppStateSyncKeyData.fromObject({
      keyData: Buffer.alloc(32, 1),
      timestamp: 2 ** 40,
    });
    assert.deepEqual(roundTrip(key), {
      keyData: Buffer.alloc(32, 1),
      timestamp: { low: 0, high: 256, unsigned: false },
    });
  });
});

describe('shapes that older code wrote', () => {
  it('are revived to Buffers', () => {
    const expected = Buffer.from([1, 2, 255]);
    for (const shape of [
      { type: 'Buffer', data: [1, 2, 255] },
      { type: 'Buffer', data: expected.toString('base64') },
      { data: [1, 2, 255], type: 'Buffer' },
      { type: 'Buffer', data: new Uint8Array([1, 2, 255]) },
      { 0: 1, 1: 2, 2: 255 },
    ]) {
      assert.deepEqual(roundTrip(shape), expected);
      assert.deepEqual(roundTrip({ list: [shape] }), { list: [expected] });
    }
    assert.deepEqual(roundTrip({ type: 'Buffer', data: [] }), Buffer.alloc(0));
  });

  it('are left alone when they only look alike', () => {
    for (const value of [
      { type: 'Buffer' },
      { type: 'Buffer', data: 7 },
      { type: 'Buffer', data: [1, 300] },
      { type: 'Buffer', data: 'AA==', name: 'x' },
      { type: 'buffer', data: 'AA==' },
      {},
    ]) {
      assert.deepEqual(roundTrip(value), value);
    }
  });

  it('text that is not JSON is an error that does not quote it', () => {
    assert.throws(
      () => reviveBufferJson('{"private":"c2VjcmV0'),
      (error: Error & { code?: string }) =>
        error.code === 'CORRUPT_RECORD' && error.cause === undefined && !/c2Vj|private/.test(error.message),
    );
    assert.throws(() => reviveBufferJson(''), { code: 'CORRUPT_RECORD' });
  });
});

describe('what comes back is fresh', () => {
  it('shares no bytes with the stored ones, nor one Buffer with another', () => {
    const stored = encodeValue({ a: Buffer.alloc(8, 1), b: Buffer.alloc(8, 2), c: Buffer.alloc(8, 3) });
    const first = decodeValue(stored) as Record<string, Buffer>;
    const second = decodeValue(stored) as Record<string, Buffer>;
    stored.fill(0xee);
    first.b?.fill(9);
    assert.deepEqual(first, { a: Buffer.alloc(8, 1), b: Buffer.alloc(8, 9), c: Buffer.alloc(8, 3) });
    assert.deepEqual(second, { a: Buffer.alloc(8, 1), b: Buffer.alloc(8, 2), c: Buffer.alloc(8, 3) });
  });

  it('is plain, whatever the number of keys and whichever they are', () => {
    for (const count of [1, 5, 6, 7, 500]) {
      const value = plain(
        Array.from({ length: count }, (_, index) => [index === 3 ? '__proto__' : `${index}@lid`, { index }]),
      );
      const back = roundTrip(value) as Record<string, unknown>;
      assert.equal(Object.getPrototypeOf(back), Object.prototype);
      assert.deepEqual(back, value);
      assert.deepEqual(Object.keys(back), Object.keys(value));
    }
  });

  it('knows every key of the dictionary', () => {
    const value = plain(DICTIONARY.map((name, index) => [name, index]));
    const stored = encodeValue(value);
    assert.deepEqual(decodeValue(stored), value);
    assert.ok(stored.length < DICTIONARY.length * 4, 'no key is spelt out');
  });
});
