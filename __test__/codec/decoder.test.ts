import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CorruptRecordError, decodeValue, encodeValue } from '../../lib/codec/index.js';
import { EACH, jsonValue } from './shapes.js';

/** Decodes what may be anything: true if it was a value, false if it was refused; any other error fails. */
function decodes(bytes: Uint8Array): boolean {
  try {
    decodeValue(Buffer.from(bytes));
    return true;
  } catch (error) {
    assert.ok(error instanceof CorruptRecordError, String(error));
    assert.equal(error.code, 'CORRUPT_RECORD');
    return false;
  }
}

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];

/** A value with the given structure and pool, whose lengths are right. */
const value = (structure: number[], pool: number[] = [], encoding = 0, raw: number[] = []): Buffer =>
  Buffer.from([
    1,
    ...varint(structure.length),
    ...varint(pool.length * 4 + encoding),
    ...structure,
    ...pool,
    ...raw,
  ]);

describe('the decoder is total', () => {
  it('on arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodes(bytes);
      }),
      EACH,
    );
  });

  it('on arbitrary structure, text and bytes in a well-formed frame', () => {
    const part = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 40 });
    const tag = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 255 }));
    let accepted = 0;
    fc.assert(
      fc.property(
        fc.array(tag, { maxLength: 12 }),
        part,
        fc.nat(3),
        part,
        (structure, pool, encoding, raw) => {
          accepted += decodes(value(structure, pool, encoding, raw)) ? 1 : 0;
          accepted += decodes(value(structure)) ? 1 : 0;
        },
      ),
      { numRuns: 5000 },
    );
    assert.ok(accepted > 0, 'some of them are values');
  });

  it('on values with bits flipped', () => {
    const flips = fc.array(fc.nat(), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(jsonValue.value, flips, (original, positions) => {
        const bytes = encodeValue(original);
        for (const position of positions) {
          const bit = position % (bytes.length * 8);
          bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
        }
        decodes(bytes);
      }),
      EACH,
    );
  });

  it('and refuses every truncation and every addition', () => {
    fc.assert(
      fc.property(jsonValue.value, fc.uint8Array({ minLength: 1, maxLength: 5 }), (original, more) => {
        const bytes = encodeValue(original);
        for (let length = 0; length < bytes.length; length++) {
          assert.equal(decodes(bytes.subarray(0, length)), false);
        }
        assert.equal(decodes(Buffer.concat([bytes, more])), false);
      }),
      { numRuns: 500 },
    );
  });

  it('reads only what lies between start and end', () => {
    const inner = encodeValue({ public: Buffer.from('key'), name: 'é' });
    const padded = Buffer.concat([Buffer.alloc(7, 0xff), inner, Buffer.alloc(7, 0xff)]);
    assert.deepEqual(decodeValue(padded, 7, 7 + inner.length), { public: Buffer.from('key'), name: 'é' });
    for (let end = 7; end < 7 + inner.length; end++) {
      assert.throws(() => decodeValue(padded, 7, end), CorruptRecordError);
    }
  });
});

describe('the decoder refuses', () => {
  const refuses = (bytes: Buffer, reason: RegExp) =>
    assert.throws(() => decodeValue(bytes), { code: 'CORRUPT_RECORD', message: reason });

  it('versions, tags and keys of later releases', () => {
    refuses(Buffer.from([2, 1, 0, 0]), /format version 2/);
    refuses(value([0x0b]), /tag 11/);
    refuses(value([0xc0]), /tag 192/);
    refuses(value([0x0a, 0xff, 0, 0]), /key 255/);
    refuses(value([0x0a, 0xfe, 0, 0]), /key 254/);
  });

  it('counts and lengths that promise more than there is, without allocating for them', () => {
    const huge = varint(2 ** 50);
    refuses(value([0x09, ...huge]), /cut short/);
    refuses(value([0x07, ...huge]), /cut short/);
    refuses(value([0x08, ...huge]), /cut short/);
    refuses(value([0x0a, 0x01, ...huge]), /cut short/);
    refuses(Buffer.from([1, ...huge, 0]), /cut short/);
    refuses(Buffer.from([1, 1, ...huge, 0]), /cut short/);
    // Each count fits what is left, and all together would claim 240 MB.
    const nested = Array.from({ length: 500 }, () => [0x09, ...varint(60_000)]).flat();
    refuses(value([...nested, ...new Array(64_000).fill(0)]), /cut short/);
  });

  it('integers beyond the safe range and those that never end', () => {
    refuses(value([0x03, 255, 255, 255, 255, 255, 255, 255, 127]), /out of range/);
    refuses(value([0x03, ...new Array(100).fill(0x80), 0]), /out of range/);
    assert.equal(decodeValue(value([0x03, ...varint(Number.MAX_SAFE_INTEGER)])), Number.MAX_SAFE_INTEGER);
  });

  it('nesting beyond 512 levels', () => {
    const arrays = (depth: number) =>
      value([...new Array((depth - 1) * 2).fill(0).map((_, at) => (at % 2 ? 1 : 9)), 9, 0]);
    assert.equal(decodes(arrays(512)), true);
    refuses(arrays(513), /deeper than 512/);
    refuses(arrays(1_000_000), /deeper than 512/);
    refuses(value(new Array(2_000_000).fill(0).map((_, at) => (at % 2 ? 2 : 0x0a))), /deeper than 512/);
  });

  it('more than 1,048,576 values, before it makes any of them', () => {
    const most = 1024 * 1024;
    const structure = (tags: number[], count: number) => {
      const bytes = Buffer.alloc(count * tags.length);
      for (let at = 0; at < bytes.length; at++) {
        bytes[at] = tags[at % tags.length] as number;
      }
      const body = Buffer.concat([Buffer.from([0x09, ...varint(count)]), bytes]);
      return Buffer.concat([Buffer.from([1, ...varint(body.length), 0]), body]);
    };
    // Nulls, empty objects, empty Buffers, empty arrays, objects of one key, doubles.
    const kinds = [[0], [0x0a, 0], [8, 0], [9, 0], [0x0a, 2, 0x80, 0], [5, 0, 0, 0, 0, 0, 0, 0, 0]];
    for (const tags of kinds) {
      const nested = tags.length === 4 ? 2 : 1;
      const before = process.memoryUsage().heapUsed;
      refuses(structure(tags, most / nested), /more than 1048576 values/);
      assert.ok(process.memoryUsage().heapUsed - before < 8e6, `made values of tag ${tags[0]}`);
    }
    for (const tags of [[0], [0x0a, 0]]) {
      assert.equal((decodeValue(structure(tags, most - 1)) as unknown[]).length, most - 1);
    }
  });

  it('malformed text', () => {
    refuses(value([0x41], [0xff], 1), /text is malformed/);
    refuses(value([0x41], [0x61, 0x62, 0x63], 2), /text is malformed/);
    refuses(value([0x41], [0x61], 3), /text is malformed/);
    refuses(value([0x06, 2], [0x30, 0x31]), /hexadecimal/);
    refuses(value([0x06, 0]), /hexadecimal/);
    assert.equal(decodeValue(value([0x41], [0xff])), 'ÿ');
  });
});
