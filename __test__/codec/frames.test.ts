import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  CorruptRecordError,
  decodeAnswer,
  decodeValue,
  encodeGet,
  encodePatch,
  encodeRecords,
  encodeValue,
  Scratch,
} from '../../lib/codec/index.js';
import { jsonValue, plain } from './shapes.js';
import { readGetFrame, readSetFrame, writeAnswer } from './wire.js';

const scratch = new Scratch();
const setFrame = (data: Parameters<typeof encodePatch>[1]) => {
  const length = encodePatch(scratch, data);
  return readSetFrame(scratch.bytes.subarray(0, length));
};

const name = fc.string({ unit: 'grapheme', maxLength: 40 });

describe('set frame', () => {
  it('carries every put and delete of a patch, in order', () => {
    const patches = fc.array(
      fc.tuple(
        name,
        fc.array(fc.tuple(fc.oneof(name, fc.constant('__proto__')), jsonValue.value), { maxLength: 5 }),
      ),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(patches, (types) => {
        const data = plain(types.map(([type, records]) => [type, plain(records)]));
        const expected = Object.entries(data).flatMap(([type, records]) =>
          Object.entries(records as object).map(([id, value]) => ({
            op: value === null || value === undefined ? 'delete' : 'put',
            type,
            id,
            value: value === null || value === undefined ? Buffer.alloc(0) : encodeValue(value),
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

  it('puts falsy values, which only null and undefined are not', () => {
    assert.deepEqual(
      setFrame({ x: { a: 0, b: '', c: false, d: null, e: undefined } }).map(({ op }) => op),
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
    for (const [type, id, path] of [
      ['t'.repeat(256), 'a', 'type'],
      ['é'.repeat(128), 'a', 'type'],
      ['\ud800', 'a', 'type'],
      ['session', 'i'.repeat(65_536), 'id'],
      ['session', 'é'.repeat(32_768), 'id'],
      ['session', 'a\udc00', 'id'],
    ] as const) {
      assert.throws(() => encodePatch(scratch, { [type]: { [id]: 1 } }), { code: 'INVALID_VALUE', path });
      assert.throws(() => encodeRecords(scratch, [{ type, id, value: null }]), {
        code: 'INVALID_VALUE',
        path,
      });
      assert.throws(() => encodeGet(scratch, type, [id]), { code: 'INVALID_VALUE', path });
    }
    assert.throws(() => encodeRecords(scratch, [{ type: 'x', id: 7 as never, value: 1 }]), {
      path: 'id',
      message: /expected a string, got number/,
    });
  });

  it('refuses data that is no object of objects, and creds', () => {
    for (const data of [null, undefined, 'x', 7, [], new Map(), new Set(), Buffer.alloc(1)]) {
      assert.throws(() => encodePatch(scratch, data as never), { code: 'INVALID_VALUE', path: 'keys.set' });
    }
    for (const records of ['x', 7, true, [1], new Map(), Buffer.alloc(1)]) {
      assert.throws(() => encodePatch(scratch, { session: records as never }), {
        code: 'INVALID_VALUE',
        path: 'session',
        message: /expected an object/,
      });
    }
    for (const records of [{}, { '': {} }, { creds: {} }]) {
      assert.throws(() => encodePatch(scratch, { creds: records }), { code: 'INVALID_VALUE', path: 'creds' });
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
      fc.property(name, fc.array(name), (type, ids) => {
        const length = encodeGet(scratch, type, ids);
        assert.deepEqual(readGetFrame(scratch.bytes.subarray(0, length)), { type, ids });
      }),
      { numRuns: 500 },
    );
  });

  it('refuses ids that are no array of strings', () => {
    for (const ids of [undefined, 'abc', {}, new Set(['a'])]) {
      assert.throws(() => encodeGet(scratch, 'session', ids as never), {
        code: 'INVALID_VALUE',
        path: 'ids',
      });
    }
    assert.throws(() => encodeGet(scratch, 'session', [null as never]), {
      code: 'INVALID_VALUE',
      path: 'id',
    });
    assert.throws(() => encodeGet(scratch, undefined as never, []), { code: 'INVALID_VALUE', path: 'type' });
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
