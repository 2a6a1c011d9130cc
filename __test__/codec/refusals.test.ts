import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
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

/** Bytes whose buffer can be made larger and smaller under them. */
function resizable(size: number): { bytes: Uint8Array; buffer: ArrayBuffer; resize(to: number): void } {
  const buffer = Reflect.construct(ArrayBuffer, [size, { maxByteLength: 1024 }]) as ArrayBuffer & {
    resize(to: number): void;
  };
  return { bytes: new Uint8Array(buffer), buffer, resize: (to) => buffer.resize(to) };
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

  it('include bytes that a getter of the same value takes away', () => {
    for (const [from, to] of [
      [8, 4],
      [8, 0],
      [400, 399],
    ] as const) {
      const { bytes, resize } = resizable(from);
      assert.match(refusal({ bytes, next: { toJSON: () => resize(to) } }).message, /resized or transferred/);
    }
    for (const size of [8, 400]) {
      const { bytes, buffer } = resizable(size);
      const toJSON = () => structuredClone(buffer, { transfer: [buffer] });
      assert.match(refusal({ bytes, next: { toJSON } }).message, /resized or transferred/);
    }
  });

  it('include bytes that are gone already, whatever the view', () => {
    const views = [
      (buffer: ArrayBuffer) => Buffer.from(buffer),
      (buffer: ArrayBuffer) => new Uint8Array(buffer),
      (buffer: ArrayBuffer) => new Float64Array(buffer),
      (buffer: ArrayBuffer) => new DataView(buffer),
      (buffer: ArrayBuffer) => buffer,
      (buffer: ArrayBuffer) => ({ type: 'Buffer', data: new Uint8Array(buffer) }),
    ];
    for (const view of views) {
      const buffer = new ArrayBuffer(32);
      const key = view(buffer);
      structuredClone(buffer, { transfer: [buffer] });
      for (const [value, path] of [
        [key, 'creds'],
        [{ key }, 'creds.key'],
        [[1, key], 'creds[1]'],
      ] as const) {
        const error = refusal(value);
        assert.ok(error.path.startsWith(path));
        assert.match(error.message, /bytes are gone/);
      }
    }
    const { bytes, buffer, resize } = resizable(16);
    const beyond = new Uint8Array(buffer, 8, 8);
    resize(4);
    assert.match(refusal({ beyond }).message, /bytes are gone/);
    assert.deepEqual(decodeValue(encodeValue(bytes)), Buffer.alloc(4));
    assert.deepEqual(decodeValue(encodeValue([new Uint8Array(0), new DataView(new ArrayBuffer(0))])), [
      Buffer.alloc(0),
      Buffer.alloc(0),
    ]);
  });

  it('include promises anywhere, and maps that are all of a record', () => {
    assert.equal(refusal({ a: [Promise.resolve(1)] }).path, 'creds.a[0]');
    for (const value of [
      Promise.resolve({ a: 1 }),
      new Map([['a', 1]]),
      new Set([1]),
      new WeakMap(),
      new WeakSet(),
      runInNewContext('new Map([["a", 1]])'),
      runInNewContext('Promise.resolve(1)'),
      { toJSON: () => new Map([['a', 1]]) },
    ]) {
      const error = refusal(value);
      assert.equal(error.path, 'creds');
      assert.match(error.message, /cannot be stored/);
    }
  });

  it('include proxies that were revoked, and lists whose length is none', () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    assert.equal(refusal({ a: { proxy } }).path, 'creds.a.proxy');
    for (const length of [-1, 1.5, Number.NaN, '3', 2 ** 60, null]) {
      const get = (list: unknown[], key: string | symbol) =>
        key === 'length' ? length : Reflect.get(list, key);
      assert.equal(refusal({ list: new Proxy([1, 2, 3], { get }) }).path, 'creds.list');
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

describe('values that change while they are read', () => {
  /** Lengths that a view may claim by a property of its own, each with what is stored then: undefined is a refusal. */
  const CLAIMS: [size: number, claimed: unknown, stored: number | undefined][] = [
    [8, 4, 4],
    [8, 16, undefined],
    [8, 400, undefined],
    [8, -1, undefined],
    [8, 1.5, undefined],
    [8, '4', undefined],
    [8, 2 ** 31, undefined],
    [400, 100, 100],
    [400, 401, undefined],
    [400, 0, 0],
  ];

  it('never make a value that is torn, whatever length they claim', () => {
    for (const [size, claimed, stored] of CLAIMS) {
      const liar = Object.defineProperty(Buffer.alloc(size, 7), 'length', { value: claimed });
      class Liar extends Uint8Array {}
      Object.defineProperty(Liar.prototype, 'length', { get: () => claimed });
      const value = { before: 'x', liar, after: Buffer.from('after') };
      if (stored === undefined) {
        assert.throws(() => encodeValue(value), { code: 'INVALID_VALUE' }, `${size} as ${String(claimed)}`);
      } else {
        assert.deepEqual(decodeValue(encodeValue(value)), { ...value, liar: Buffer.alloc(stored, 7) });
      }
      // A class of one's own is not asked.
      assert.deepEqual(decodeValue(encodeValue([new Liar(Buffer.alloc(size, 7)), 'x'])), [
        Buffer.alloc(size, 7),
        'x',
      ]);
    }
  });

  it('are stored as they were when they were met, if they grow', () => {
    for (const size of [8, 400]) {
      const { bytes, resize } = resizable(size);
      const value = { bytes, next: { toJSON: () => resize(size * 2) }, after: Buffer.from('after') };
      assert.deepEqual(decodeValue(encodeValue(value)), {
        bytes: Buffer.alloc(size),
        after: Buffer.from('after'),
      });
    }
    const shared = Reflect.construct(SharedArrayBuffer, [8, { maxByteLength: 64 }]) as SharedArrayBuffer & {
      grow(to: number): void;
    };
    const value = { bytes: new Uint8Array(shared), next: { toJSON: () => shared.grow(64) } };
    assert.deepEqual(decodeValue(encodeValue(value)), { bytes: Buffer.alloc(8) });
  });

  it('are read once: a property, an element, a length', () => {
    let reads = 0;
    const next = () => ++reads;
    const value = Object.defineProperty({ a: 0 }, 'n', { get: next, enumerable: true });
    assert.deepEqual(decodeValue(encodeValue({ value })), { value: { a: 0, n: 1 } });
    const growing = new Proxy([1, 2], {
      get: (list, key) => {
        if (key === 'length') {
          list.push(3);
        }
        return Reflect.get(list, key);
      },
    });
    assert.deepEqual(decodeValue(encodeValue({ growing, after: 'x' })), { growing: [1, 2, 3], after: 'x' });
    let kind = 0;
    const shifty = new Proxy(
      { type: 'Buffer', data: [1, 2] as unknown },
      {
        get: (target, key) => (key === 'data' && kind++ % 2 === 0 ? 'AQI=' : Reflect.get(target, key)),
      },
    );
    const back = decodeValue(encodeValue({ shifty, after: 'x' })) as Record<string, unknown>;
    assert.equal(back.after, 'x');
  });

  it('as JSON leaves bytes, must be bytes all over', () => {
    for (const data of [new Array(5), new Array(2 ** 32 - 1), [1, undefined, 3], [1, 256], [1, '2']]) {
      const sparse = { type: 'Buffer', data };
      if (data.length > 5) {
        assert.throws(() => encodeValue(sparse), { code: 'INVALID_VALUE', message: /larger/ });
      } else {
        assert.deepEqual(decodeValue(encodeValue(sparse)), {
          type: 'Buffer',
          data: Array.from(data, (byte) => byte ?? null),
        });
      }
    }
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
