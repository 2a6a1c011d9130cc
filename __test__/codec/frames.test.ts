import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import {
  CorruptRecordError,
  checkType,
  decodeAnswer,
  decodeValue,
  encodeGet,
  encodePatch,
  encodeRecords,
  encodeValue,
  namesOf,
  Scratch,
  ValueError,
} from '../../lib/codec/index.js';
import { renderPath } from '../../lib/codec/refusal.js';
import { jsonValue, plain } from './shapes.js';
import { readGetFrame, readSetFrame, writeAnswer } from './wire.js';

const scratch = new Scratch();
const setFrame = (data: Parameters<typeof encodePatch>[1]) => {
  const length = encodePatch(scratch, data);
  return readSetFrame(scratch.bytes.subarray(0, length));
};

const name = fc.string({ unit: 'grapheme', maxLength: 40 });
const typeName = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 });

/** JSON makes null of the infinities. */
const isKept = (value: unknown): boolean =>
  Boolean(value) && value !== Number.POSITIVE_INFINITY && value !== Number.NEGATIVE_INFINITY;

class Patch {
  session = { a: 1 };
}
const revoked = (() => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
})();
/** Objects of which a patch would be made that stores nothing, or not what was meant. */
const NO_PATCHES: unknown[] = [
  [],
  [['session', {}]],
  new Map([['session', { a: 1 }]]),
  new Set(['session']),
  new WeakMap(),
  new Date(),
  new Patch(),
  Object.create({ session: { a: 1 } }),
  Promise.resolve({ session: { a: 1 } }),
  Buffer.alloc(1),
  new ArrayBuffer(1),
  Object('session'),
  Object(7),
  new Error('x'),
  /x/,
  { [Symbol('session')]: { a: 1 } },
  revoked,
  runInNewContext('new Map([["session", { a: 1 }]])'),
  runInNewContext('new Date()'),
  runInNewContext('[1]'),
  runInNewContext('Promise.resolve({})'),
];

describe('set frame', () => {
  it('carries every put and delete of a patch, in order', () => {
    const patches = fc.array(
      fc.tuple(
        typeName,
        fc.array(fc.tuple(fc.oneof(name, fc.constant('__proto__')), jsonValue.value), { maxLength: 5 }),
      ),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(patches, (types) => {
        const data = plain(types.map(([type, records]) => [type, plain(records)]));
        const expected = Object.entries(data).flatMap(([type, records]) =>
          Object.entries(records as object).map(([id, value]) => ({
            op: isKept(value) ? 'put' : 'delete',
            type,
            id,
            value: isKept(value) ? encodeValue(value) : Buffer.alloc(0),
          })),
        );
        fc.pre(!expected.some(({ type }) => type === 'creds'));
        assert.deepEqual(setFrame(data as never), expected);
      }),
      { numRuns: 1000 },
    );
  });

  it('is empty for an empty patch', () => {
    assert.equal(encodePatch(scratch, {}), 0);
    assert.equal(encodePatch(scratch, { session: {}, 'pre-key': null, tctoken: undefined }), 0);
    assert.equal(encodeRecords(scratch, []), 0);
  });

  it('deletes what Baileys would: every value that is falsy, or null as JSON', () => {
    const gone = { toJSON: () => undefined };
    const patch = { a: 0, b: '', c: false, d: null, e: undefined, f: Number.NaN, g: 0n, h: -0, i: gone };
    const entries = setFrame({ x: patch });
    assert.deepEqual(
      entries.map(({ op, id, value }) => [op, id, value.length]),
      Object.keys(patch).map((id) => ['delete', id, 0]),
    );
    const kept = { a: {}, b: [], c: ' ', d: '0', e: true, f: 1, g: Buffer.alloc(0), h: [null], i: Infinity };
    assert.deepEqual(
      setFrame({ x: kept }).map(({ op }) => op),
      ['put', 'put', 'put', 'put', 'put', 'put', 'put', 'put', 'delete'],
    );
  });

  it('of an explicit list deletes only what is null: other stores keep false and 0', () => {
    const records = [0, '', false, null, undefined].map((value, index) => ({
      type: 'x',
      id: `${index}`,
      value,
    }));
    const length = encodeRecords(scratch, records);
    assert.deepEqual(
      readSetFrame(scratch.bytes.subarray(0, length)).map(({ op }) => op),
      ['put', 'put', 'put', 'delete', 'delete'],
    );
  });

  it('keeps types that no list knows', () => {
    assert.deepEqual(setFrame({ 'bridge-état': { 'id:1@lid': [1] } }), [
      { op: 'put', type: 'bridge-état', id: 'id:1@lid', value: encodeValue([1]) },
    ]);
  });

  it('comes from an explicit list too, creds with their empty id among it', () => {
    const length = encodeRecords(scratch, [
      { type: 'creds', id: '', value: { me: 1 } },
      { type: 'session', id: 'a', value: null },
      { type: 'session', id: 'a', value: 'again' },
    ]);
    assert.deepEqual(readSetFrame(scratch.bytes.subarray(0, length)), [
      { op: 'put', type: 'creds', id: '', value: encodeValue({ me: 1 }) },
      { op: 'delete', type: 'session', id: 'a', value: Buffer.alloc(0) },
      { op: 'put', type: 'session', id: 'a', value: encodeValue('again') },
    ]);
  });

  it('takes names up to their limits and refuses longer ones', () => {
    const entries = setFrame({ ['t'.repeat(255)]: { ['i'.repeat(65_535)]: 1, ['é'.repeat(32_767)]: 2 } });
    assert.deepEqual(
      entries.map(({ type, id }) => [Buffer.byteLength(type), Buffer.byteLength(id)]),
      [
        [255, 65_535],
        [255, 65_534],
      ],
    );
    for (const [type, id, ofGet] of [
      ['', 'a', 'type'],
      ['t'.repeat(256), 'a', 'type'],
      ['é'.repeat(128), 'a', 'type'],
      ['\ud800', 'a', 'type'],
      ['session', 'i'.repeat(65_536), 'ids[0]'],
      ['session', 'é'.repeat(32_768), 'ids[0]'],
      ['session', 'a\udc00', 'ids[0]'],
    ] as const) {
      const named = (error: unknown): boolean => {
        assert.ok(error instanceof ValueError);
        assert.equal(error.path, renderPath('', [type, id]));
        assert.match(error.message, ofGet === 'type' ? /expected a type of/ : /expected an id of/);
        return true;
      };
      assert.throws(() => encodePatch(scratch, { [type]: { [id]: 1 } }), named);
      assert.throws(() => encodePatch(scratch, { [type]: { [id]: null } }), named);
      assert.throws(() => encodeRecords(scratch, [{ type, id, value: null }]), named);
      assert.throws(() => encodeGet(scratch, type, [id]), { code: 'INVALID_VALUE', path: ofGet });
    }
    assert.throws(() => encodeRecords(scratch, [{ type: 'x', id: 7 as never, value: 1 }]), {
      message: /expected an id that is a string, got number/,
    });
    for (const type of ['', '\ud800', 'x'.repeat(256), 5, undefined, null]) {
      assert.throws(() => checkType(type), { code: 'INVALID_VALUE', path: 'type' });
    }
    assert.equal(checkType('session'), 'session');
  });

  it('refuses data that is no object of objects, and creds', () => {
    for (const data of [null, undefined, 'x', 7, ...NO_PATCHES]) {
      assert.throws(() => encodePatch(scratch, data as never), { code: 'INVALID_VALUE', path: 'keys.set' });
    }
    for (const records of ['x', 7, true, ...NO_PATCHES]) {
      assert.throws(() => encodePatch(scratch, { session: records as never }), {
        code: 'INVALID_VALUE',
        path: 'session',
        message: /expected|reading it threw/,
      });
    }
    for (const records of [{}, { '': {} }, { creds: {} }]) {
      assert.throws(() => encodePatch(scratch, { creds: records }), { code: 'INVALID_VALUE', path: 'creds' });
    }
  });

  it('takes objects of another realm, and those without a prototype', () => {
    const expected = [
      { op: 'put', type: 'session', id: 'a', value: encodeValue({ n: [1], key: Buffer.from([7]) }) },
    ];
    for (const data of [
      runInNewContext('({ session: { a: { n: [1], key: new Uint8Array([7]) } } })'),
      Object.assign(Object.create(null), {
        session: Object.assign(Object.create(null), { a: { n: [1], key: [7] } }),
      }),
      new Proxy({ session: new Proxy({ a: { n: [1], key: Buffer.from([7]) } }, {}) }, {}),
    ]) {
      if (Array.isArray(data.session.a.key)) {
        data.session.a.key = new Uint8Array([7]);
      }
      assert.deepEqual(setFrame(data), expected);
    }
  });

  it('outgrows the scratch and keeps what was written before', () => {
    const small = new Scratch();
    const initial = small.bytes.length;
    const data = {
      a: { 1: Buffer.alloc(initial / 2, 1), 2: 'é'.repeat(initial), 3: Buffer.alloc(initial * 3, 3) },
    };
    const length = encodePatch(small, data);
    assert.ok(small.bytes.length >= length && length > initial);
    const values = readSetFrame(small.bytes.subarray(0, length)).map(({ value }) => decodeValue(value));
    assert.deepEqual(values, Object.values(data.a));
  });

  it('is a snapshot: later changes of the value do not matter', () => {
    const key = Buffer.alloc(4, 1);
    const length = encodePatch(scratch, { x: { a: { key } } });
    key.fill(2);
    const [entry] = readSetFrame(scratch.bytes.subarray(0, length));
    assert.deepEqual(decodeValue(entry?.value as Buffer), { key: Buffer.alloc(4, 1) });
  });
});

describe('get frame', () => {
  it('carries type and ids', () => {
    fc.assert(
      fc.property(typeName, fc.array(name), (type, ids) => {
        const length = encodeGet(scratch, type, ids);
        assert.deepEqual(readGetFrame(scratch.bytes.subarray(0, length)), { type, ids });
      }),
      { numRuns: 500 },
    );
  });

  it('takes numbers for their digits', () => {
    assert.deepEqual(namesOf([7, '7', 0, -0, 16_777_215n, -3]), ['7', '7', '0', '0', '16777215', '-3']);
  });

  it('refuses ids that are no array of names, by where they stand', () => {
    for (const ids of [
      undefined,
      null,
      'abc',
      {},
      { length: 1, 0: 'a' },
      new Set(['a']),
      new Uint8Array(2),
    ]) {
      assert.throws(() => namesOf(ids), { code: 'INVALID_VALUE', path: 'ids' });
    }
    for (const id of [
      null,
      undefined,
      {},
      ['a'],
      true,
      Symbol('a'),
      Number.NaN,
      1.5,
      2 ** 53,
      () => 'a',
      Object('a'),
    ]) {
      assert.throws(() => namesOf(['a', id]), { code: 'INVALID_VALUE', path: 'ids[1]' });
    }
    // biome-ignore lint/suspicious/noSparseArray: holes are what is tested
    assert.throws(() => namesOf(['a', , 'b']), { path: 'ids[1]' });
    assert.throws(() => namesOf(new Array(2 ** 32 - 1)), { path: 'ids[0]' });
    assert.throws(() => encodeGet(scratch, undefined as never, []), { code: 'INVALID_VALUE', path: 'type' });
  });

  it('reads each id once, from a proxy or getter too', () => {
    let reads = 0;
    const ids = Object.defineProperty(['a', 'b'], 0, { get: () => `read ${reads++}`, enumerable: true });
    assert.deepEqual(namesOf(ids), ['read 0', 'b']);
    const lying = (length: unknown) =>
      new Proxy(['a'], {
        get: (list, key, self) => (key === 'length' ? length : Reflect.get(list, key, self)),
      });
    for (const length of [-1, 1.5, Number.NaN, 'x', undefined, 2 ** 60]) {
      assert.throws(() => namesOf(lying(length)), { code: 'INVALID_VALUE' });
    }
    assert.deepEqual(namesOf(lying(0)), []);
    assert.throws(() => namesOf(revoked), { code: 'INVALID_VALUE', path: 'ids' });
  });
});

describe('answer', () => {
  const decode = (found: [number, unknown][], ids: string[], revive?: (value: unknown) => unknown) => {
    const answer = writeAnswer(found.map(([index, value]) => [index, encodeValue(value)]));
    return decodeAnswer(Buffer.concat([answer, Buffer.from('stale')]), answer.length, ids, revive);
  };

  it('gives found records by id and leaves the others out', () => {
    assert.deepEqual(decode([], ['a', 'b']), {});
    const ids = ['a', 'b', 'a', '__proto__', 'toString'];
    const found: [number, unknown][] = [
      [2, 'A'],
      [3, { x: 1 }],
      [0, 'A'],
    ];
    const result = decode(found, ids);
    assert.deepEqual(Object.entries(result).sort(), [
      ['__proto__', { x: 1 }],
      ['a', 'A'],
    ]);
    assert.equal(Object.getPrototypeOf(result), Object.prototype);
  });

  it('gives each value to revive, which may overwrite the bytes', () => {
    const ids = ['a', 'b'];
    const answer = writeAnswer([
      [0, encodeValue({ n: 1 })],
      [1, encodeValue({ n: 2 })],
    ]);
    const result = decodeAnswer(answer, answer.length, ids, (value) => {
      answer.fill(0xff);
      return { revived: value };
    });
    assert.deepEqual(result, { a: { revived: { n: 1 } }, b: { revived: { n: 2 } } });
  });

  it('names the record that cannot be decoded or revived', () => {
    const broken = writeAnswer([
      [0, encodeValue(1)],
      [1, Buffer.from([9, 9])],
    ]);
    assert.throws(() => decodeAnswer(broken, broken.length, ['a', 'b']), {
      code: 'CORRUPT_RECORD',
      recordId: 'b',
    });
    const cause = new TypeError('object expected');
    const revive = () => {
      throw cause;
    };
    assert.throws(() => decode([[0, 1]], ['a'], revive), { code: 'CORRUPT_RECORD', recordId: 'a', cause });
  });

  it('is refused when malformed', () => {
    const answer = writeAnswer([[0, encodeValue('text')]]);
    for (let length = 1; length < answer.length; length++) {
      assert.throws(() => decodeAnswer(answer, length, ['a']), CorruptRecordError);
    }
    assert.throws(() => decodeAnswer(answer, answer.length + 1, ['a']), CorruptRecordError);
    assert.throws(() => decodeAnswer(answer, answer.length, []), CorruptRecordError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decodeAnswer(Buffer.from(bytes), bytes.length, ['a', 'b']);
        } catch (error) {
          assert.ok(error instanceof CorruptRecordError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
