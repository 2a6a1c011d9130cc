import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  decodeValue,
  encodeGet,
  encodePatch,
  encodeRecords,
  encodeValue,
  Scratch,
  ValueError,
} from '../../lib/codec/index.js';

const scratch = new Scratch();

/** The error that storing `value` as creds gives. */
function refusal(value: unknown): ValueError {
  try {
    encodeRecords(scratch, [{ type: 'creds', id: '', value }]);
  } catch (error) {
    assert.ok(error instanceof ValueError);
    assert.equal(error.code, 'INVALID_VALUE');
    assert.equal(error.retryable, false);
    return error;
  }
  assert.fail('nothing was refused');
}

function nested(depth: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = null;
  for (let level = 0; level < depth; level++) {
    value = wrap(value);
  }
  return value;
}

describe('values that cannot be stored', () => {
  it('are refused with the path to them', () => {
    const run = () => 1;
    const cases: [unknown, string][] = [
      [{ me: { foo: run } }, 'creds.me.foo'],
      [{ me: { foo: Symbol('x') } }, 'creds.me.foo'],
      [run, 'creds'],
      [Symbol('x'), 'creds'],
      [{ list: [1, { deep: run }] }, 'creds.list[1].deep'],
      [{ 'not a name': { 7: run } }, 'creds["not a name"]["7"]'],
      [{ a: { toJSON: () => run } }, 'creds.a'],
      [[run], 'creds[0]'],
    ];
    for (const [value, path] of cases) {
      const error = refusal(value);
      assert.equal(error.path, path);
      assert.ok(error.message.startsWith(`${path}: `));
    }
    assert.throws(() => encodeValue({ foo: run }), { code: 'INVALID_VALUE', path: 'foo' });
    assert.throws(() => encodeValue(run), { code: 'INVALID_VALUE', path: '' });
  });

  it('include those of more values than can be read back', () => {
    const list = new Array(1024 * 1024).fill(0);
    assert.match(refusal({ list }).message, /more than 1048576 values/);
    list.pop();
    assert.equal((decodeValue(encodeValue(list)) as unknown[]).length, list.length);
  });

  it('name type and id when they come in a patch', () => {
    const run = () => 1;
    assert.throws(() => encodePatch(scratch, { session: { '123.0': { a: run } } }), {
      code: 'INVALID_VALUE',
      path: 'session["123.0"].a',
    });
    assert.throws(() => encodePatch(scratch, { 'pre-key': { 7: run } }), { path: '["pre-key"]["7"]' });
  });

  it('include cycles, named by where they start and what they lead back to', () => {
    const creds: Record<string, unknown> = { me: { name: 'x' } };
    creds.self = creds;
    assert.equal(refusal(creds).path, 'creds.self');
    assert.match(refusal(creds).message, /cycle.*back to creds$/);

    const inner: Record<string, unknown> = { list: [] };
    (inner.list as unknown[]).push(0, inner);
    const error = refusal({ me: { inner } });
    assert.equal(error.path, 'creds.me.inner.list[1]');
    assert.match(error.message, /back to creds\.me\.inner$/);
  });

  it('but not the same object held twice', () => {
    const shared = { name: 'x' };
    assert.deepEqual(decodeValue(encodeValue({ a: shared, b: [shared, shared] })), {
      a: { name: 'x' },
      b: [{ name: 'x' }, { name: 'x' }],
    });
  });

  it('include nesting beyond 512 levels, and nothing less', () => {
    for (const wrap of [(inner: unknown) => [inner], (inner: unknown) => ({ inner })]) {
      const deepest = nested(512, wrap);
      assert.deepEqual(decodeValue(encodeValue(deepest)), deepest);
      assert.match(refusal(nested(513, wrap)).message, /deeper than 512 levels/);
    }
    assert.throws(() => encodeValue(nested(100_000, (inner) => [inner])), { code: 'INVALID_VALUE' });
  });

  it('include those whose getters throw, with the cause', () => {
    const cause = new Error('no');
    const fail = () => {
      throw cause;
    };
    const error = refusal({ me: Object.defineProperty({}, 'id', { get: fail, enumerable: true }) });
    assert.equal(error.path, 'creds.me.id');
    assert.equal(error.cause, cause);
    assert.equal(refusal({ a: [{ toJSON: fail }] }).path, 'creds.a[0]');
    assert.throws(
      () => encodePatch(scratch, Object.defineProperty({}, 'session', { get: fail, enumerable: true })),
      {
        code: 'INVALID_VALUE',
        path: 'session',
        cause,
      },
    );
  });

  it('include Buffers that a getter of the same value resizes', () => {
    const buffer = Reflect.construct(ArrayBuffer, [8, { maxByteLength: 16 }]) as ArrayBuffer;
    const bytes = new Uint8Array(buffer);
    for (const size of [4, 16]) {
      const toJSON = () => (buffer as unknown as { resize(to: number): void }).resize(size);
      assert.match(refusal({ bytes, next: { toJSON } }).message, /resized|threw/);
    }
  });

  it('include those too large to store', () => {
    const megabytes = Buffer.alloc(100 * 1024 * 1024);
    assert.throws(() => encodeValue([megabytes, megabytes, megabytes]), {
      code: 'INVALID_VALUE',
      message: /larger than/,
    });
    assert.throws(() => encodeValue(new Array(2 ** 32 - 1)), {
      code: 'INVALID_VALUE',
      message: /larger than/,
    });
  });

  it('keep nothing behind: the next value is encoded as if nothing had happened', () => {
    const value = { text: 'abc', bytes: Buffer.from('xyz') };
    const expected = encodeValue(value);
    assert.throws(() => encodeValue({ text: 'lost', bytes: Buffer.from('lost'), bad: () => 1 }));
    assert.deepEqual(encodeValue(value), expected);
  });
});

describe('a scratch in use', () => {
  it('refuses the getter or toJSON that calls the store, and is usable afterwards', () => {
    const inner: unknown[] = [];
    const value = {
      toJSON() {
        for (const call of [
          () => encodePatch(scratch, { session: { a: 1 } }),
          () => encodeRecords(scratch, []),
          () => encodeGet(scratch, 'session', ['a']),
        ]) {
          assert.throws(call, (error) => inner.push(error) > 0 && error instanceof ValueError);
        }
        return 'done';
      },
    };
    const length = encodePatch(scratch, { session: { a: value } });
    assert.equal(inner.length, 3);
    assert.equal(decodeValue(scratch.bytes, 8 + 'session'.length + 1, length), 'done');

    const throwing = { toJSON: () => encodePatch(scratch, { session: { a: 1 } }) };
    const error = refusal({ me: throwing });
    assert.equal(error.path, 'creds.me');
    assert.ok(error.cause instanceof ValueError);
    assert.ok(encodePatch(scratch, { session: { a: 1 } }) > 0);
  });

  it('does not stand in the way of another', () => {
    const other = new Scratch();
    const value = { toJSON: () => encodePatch(other, { session: { a: 'b' } }) };
    const length = encodePatch(scratch, { session: { a: value } });
    assert.equal(decodeValue(scratch.bytes, 16, length), 8 + 'session'.length + 1 + encodeValue('b').length);
  });
});
