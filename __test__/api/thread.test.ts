import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { encodeValue } from '../../lib/codec/index.js';
import {
  ConfigError,
  CorruptRecordError,
  EncryptionError,
  FencedError,
  fromNative,
  SessionBusyError,
  StorageError,
  TimeoutError,
  VersionMismatchError,
} from '../../lib/errors.js';
import type { NativeCoreClass } from '../../lib/native/abi.js';
import { missingBinary } from '../../lib/native/load.js';
import { readSnapshot } from '../../lib/native/snapshot.js';
import { CoreThread } from '../../lib/native/thread.js';

/** One completion, framed as the core frames them. */
function frame(request: number, status: number, kind: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(10);
  header.writeUInt32LE(request, 0);
  header.writeUInt8(status, 4);
  header.writeUInt8(kind, 5);
  header.writeUInt32LE(payload.length, 6);
  return Buffer.concat([header, payload]);
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** A thread on a core that says what the test makes it say. */
function setUp(): { thread: CoreThread; say: (...frames: Buffer[]) => void } {
  let deliver: (batch: Buffer) => void = () => {};
  class Silent {
    constructor(onCompletions: (batch: Buffer) => void) {
      deliver = onCompletions;
    }
  }
  const thread = new CoreThread(Silent as unknown as NativeCoreClass);
  return { thread, say: (...frames) => deliver(Buffer.concat(frames)) };
}

describe('completions', () => {
  it('settle the requests they name, several in a batch', async () => {
    const { thread, say } = setUp();
    const version = Buffer.alloc(16);
    version.writeDoubleLE(2 ** 40, 0);
    version.writeDoubleLE(1234, 8);
    const outcomes = Promise.all([
      thread.committed(1),
      thread.json(2),
      thread.answer(4_000_000_000),
      thread.done(4),
      thread.snapshot(5),
    ]);
    say(
      frame(4_000_000_000, 0, 2, Buffer.from('answer')),
      frame(2, 0, 3, json({ a: 'ü' })),
      frame(1, 0, 1, version),
      frame(99, 0, 0, Buffer.alloc(0)),
      frame(5, 0, 3, json(null)),
      frame(4, 0, 0, Buffer.alloc(0)),
    );
    assert.deepEqual(await outcomes, [
      { version: 2 ** 40, updatedAt: 1234 },
      { a: 'ü' },
      Buffer.from('answer'),
      undefined,
      undefined,
    ]);
  });

  it('settle in order and a part at a time, so that many leave room for other work', async () => {
    const { thread, say } = setUp();
    const count = 1_000;
    const settled: number[] = [];
    const all = Promise.all(
      Array.from({ length: count }, (_, n) => thread.done(n + 1).then(() => settled.push(n + 1))),
    );
    const numbers = Array.from({ length: count }, (_, n) => n + 1);
    const frames = numbers.map((number) => frame(number, 0, 0, Buffer.alloc(0)));
    say(...frames.slice(0, count - 1));
    say(...frames.slice(count - 1));
    let turns = 0;
    while (settled.length < count) {
      await new Promise(setImmediate);
      turns += 1;
    }
    await all;
    assert.deepEqual(settled, numbers);
    assert.ok(turns > 4, `all were settled within ${turns} turns`);
  });

  it('arrive although a listener throws', async () => {
    const { thread, say } = setUp();
    thread.listen(() => {
      throw new Error('from the program');
    });
    const outcome = thread.done(1);
    assert.throws(
      () => say(frame(0, 2, 3, json({ event: 'log' })), frame(1, 0, 0, Buffer.alloc(0))),
      /from the program/,
    );
    await outcome;
  });

  it('of an unexpected kind are a defect, not a value', async () => {
    const { thread, say } = setUp();
    const outcome = assert.rejects(thread.committed(1), { code: 'INTERNAL' });
    say(frame(1, 0, 3, json({})));
    await outcome;
  });

  it('with an error reject with its class, and the stack of whoever asked', async () => {
    const { thread, say } = setUp();
    async function programThatAsks(): Promise<void> {
      await thread.json(1);
    }
    const outcome = programThatAsks().then(
      () => assert.fail('expected an error'),
      (error: unknown) => error,
    );
    say(frame(1, 1, 3, json({ code: 'FENCED', message: 'taken over', layer: 'redis', sessionId: 's' })));
    const error = await outcome;
    assert.ok(error instanceof FencedError);
    assert.equal(error.sessionId, 's');
    assert.match(String(error.stack), /programThatAsks/);
  });

  it('carry events to every listener until it leaves', () => {
    const { thread, say } = setUp();
    const heard: unknown[] = [];
    const leave = thread.listen((event, first) => heard.push(['a', event.event, first]));
    thread.listen((event, first) => heard.push(['b', event.event, first]));
    say(frame(0, 2, 3, json({ event: 'log' })));
    leave();
    say(frame(0, 2, 3, json({ event: 'leaseLost' })));
    assert.deepEqual(heard, [
      ['a', 'log', true],
      ['b', 'log', false],
      ['b', 'leaseLost', true],
    ]);
  });
});

describe('the process', () => {
  const run = (body: string) =>
    spawnSync(process.execPath, ['--import', 'tsx', '--input-type=commonjs', '-e', body], {
      cwd: fileURLToPath(new URL('.', `file://${__filename}`)),
      encoding: 'utf8',
      timeout: 60_000,
    });
  const make = `
    const { CoreThread } = require('../../lib/native/thread.ts');
    let deliver;
    const thread = new CoreThread(class { constructor(f) { deliver = f; } });
    process.on('exit', () => console.log('exit'));
  `;

  it('ends while a thread is idle', () => {
    const { stdout, status } = run(make);
    assert.deepEqual([stdout, status], ['exit\n', 0]);
  });

  it('stays while a request is pending, and ends after it', () => {
    const { stdout, status } = run(`${make}
      thread.done(1).then(() => console.log('done'));
      setTimeout(() => {
        const batch = Buffer.alloc(10);
        batch.writeUInt32LE(1);
        deliver(batch);
      }, 300).unref();
    `);
    assert.deepEqual([stdout, status], ['done\nexit\n', 0]);
  });
});

describe('snapshots', () => {
  const entry = (type: string, id: string, value: Buffer): Buffer => {
    const header = Buffer.from([1, type.length, id.length, 0, value.length, 0, 0, 0]);
    return Buffer.concat([header, Buffer.from(type + id), value]);
  };
  const payload = (...entries: Buffer[]): Buffer => {
    const info = json({ version: 3, updatedAt: 5 });
    const length = Buffer.alloc(4);
    length.writeUInt32LE(info.length);
    return Buffer.concat([length, info, ...entries]);
  };

  it('hold every record', () => {
    const { info, records } = readSnapshot(
      payload(entry('creds', '', encodeValue({ a: 1 })), entry('session', '1.0', encodeValue('x'))),
    );
    assert.deepEqual(info, { version: 3, updatedAt: 5 });
    assert.deepEqual(records, [
      { type: 'creds', id: '', value: { a: 1 } },
      { type: 'session', id: '1.0', value: 'x' },
    ]);
  });

  it('name the record that cannot be decoded', () => {
    assert.throws(
      () => readSnapshot(payload(entry('session', '1.0', Buffer.from([255, 255])))),
      (error) =>
        error instanceof CorruptRecordError && error.recordId === '1.0' && /session/.test(error.message),
    );
  });
});

describe('errors of the core', () => {
  const table: [code: string, type: unknown, details: object, facts: object][] = [
    ['CONFIG_INVALID', ConfigError, { field: 'ttl' }, { field: 'ttl' }],
    ['TIMEOUT', TimeoutError, { operation: 'commit', timeoutMs: 50 }, { operation: 'commit', timeoutMs: 50 }],
    ['FENCED', FencedError, {}, {}],
    ['SESSION_BUSY', SessionBusyError, { holder: { pid: 7 } }, { holder: { pid: 7 } }],
    [
      'VERSION_MISMATCH',
      VersionMismatchError,
      { expectedVersion: 3, actualVersion: 4 },
      { expected: 3, actual: 4 },
    ],
    ['ENCRYPTION_FAILED', EncryptionError, { recordId: '1', keyId: 'ab' }, {}],
    ['CORRUPT_RECORD', CorruptRecordError, { recordId: '1' }, { recordId: '1' }],
    ['STORAGE_UNAVAILABLE', StorageError, {}, {}],
    ['SOMETHING_NEW', StorageError, {}, {}],
  ];
  for (const [code, type, details, facts] of table) {
    it(code, () => {
      const error = fromNative({
        code,
        message: 'what happened',
        retryable: code === 'STORAGE_UNAVAILABLE',
        layer: 'mongodb',
        sessionId: 's',
        cause: 'the driver said so',
        details: { ...details },
      });
      assert.equal(Object.getPrototypeOf(error), (type as { prototype: unknown }).prototype);
      assert.ok(error instanceof StorageError && error instanceof Error);
      assert.deepEqual([error.code, error.layer, error.sessionId], [code, 'mongo', 's']);
      assert.match(error.message, /what happened/);
      assert.deepEqual(error.details, details);
      assert.equal((error.cause as Error).message, 'the driver said so');
      for (const [name, value] of Object.entries(facts)) {
        assert.deepEqual((error as unknown as Record<string, unknown>)[name], value);
      }
    });
  }

  it('need no details', () => {
    const error = fromNative({ code: 'CLOSED', message: 'closed', sessionId: null, cause: null });
    assert.deepEqual([error.sessionId, error.cause, error.retryable], [undefined, undefined, false]);
  });

  it('say what to do about a missing binary', () => {
    const error = missingBinary();
    assert.equal(error.code, 'NATIVE_MISSING');
    assert.match(error.message, new RegExp(`${process.platform}-${process.arch}.*install`));
  });
});
