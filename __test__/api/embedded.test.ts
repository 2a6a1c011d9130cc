import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { decodeValue, encodeValue } from '../../lib/codec/index.js';
import {
  CorruptRecordError,
  EncryptionError,
  SessionBusyError,
  StorageError,
  useHybridAuthState,
  useMultiFileAuthState,
  ValueError,
  type VaultStore,
  VersionMismatchError,
} from '../../lib/index.js';

const KEY = '0123456789abcdef'.repeat(4);
const OTHER_KEY = 'f'.repeat(64);
const SESSION = 'default';
const FACE = join(__dirname, '..', '..', 'lib', 'index.ts');

let root: string;
let count = 0;
const freshFolder = (): string => join(root, String(count++));

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'vault-embedded-'));
});
after(() => rm(root, { recursive: true, force: true }));

const opened: VaultStore[] = [];
const open = async (...args: Parameters<typeof useMultiFileAuthState>) => {
  const result = await useMultiFileAuthState(...args);
  opened.push(result.store);
  return result;
};
afterEach(async () => {
  await Promise.all(opened.splice(0).map((store) => store.close()));
});

/** Runs a program of its own, which gets the package as `vault`. */
const program = (body: string): string[] => [
  '--import',
  'tsx',
  '--input-type=commonjs',
  '-e',
  `const vault = require(${JSON.stringify(FACE)}); (async () => { ${body} })();`,
];

describe('a session', () => {
  it('begins with new creds, stored by saveCreds and not before', async () => {
    const folder = freshFolder();
    const { state, saveCreds, store } = await open(folder);
    assert.equal(await store.exists(SESSION), false);
    await saveCreds();
    assert.equal(await store.exists(SESSION), true);
    await store.close();
    const again = await open(folder);
    assert.deepEqual(again.state.creds.noiseKey.private, Buffer.from(state.creds.noiseKey.private));
    assert.equal(again.state.creds.registrationId, state.creds.registrationId);
  });

  it('is shared by hooks called again, and each handle ends by itself', async () => {
    const folder = freshFolder();
    const first = await open(folder);
    await first.saveCreds();
    const second = await open(folder);
    assert.equal(second.state.creds.registrationId, first.state.creds.registrationId);
    await first.state.keys.set({ 'lid-mapping': { a: 'b' } });
    assert.deepEqual(await second.state.keys.get('lid-mapping', ['a']), { a: 'b' });
    await first.store.close();
    await second.state.keys.set({ 'lid-mapping': { a: 'c' } });
    assert.deepEqual(await second.state.keys.get('lid-mapping', ['a']), { a: 'c' });
    for (const call of [
      () => first.state.keys.get('lid-mapping', ['a']),
      () => first.state.keys.set({ 'lid-mapping': { a: 'd' } }),
      () => first.saveCreds(),
      () => first.store.get(SESSION),
    ]) {
      await assert.rejects(async () => await call(), { code: 'CLOSED' });
    }
  });

  it('takes values as they are at the call, and gives them out fresh', async () => {
    const { state, saveCreds, store } = await open(freshFolder());
    const value = { token: Buffer.from([1, 2, 3]) };
    const stored = state.keys.set({ tctoken: { a: value } });
    value.token.fill(9);
    await stored;
    const [one, two] = await Promise.all([
      state.keys.get('tctoken', ['a', 'missing']),
      state.keys.get('tctoken', ['a']),
    ]);
    assert.deepEqual(one, { a: { token: Buffer.from([1, 2, 3]) } });
    assert.notEqual(one.a, two.a);
    one.a?.token.fill(7);
    assert.deepEqual(await state.keys.get('tctoken', ['a']), two);
    const saving = saveCreds();
    const { registrationId } = state.creds;
    state.creds = { ...state.creds, registrationId: registrationId + 1 };
    await saving;
    assert.equal((await store.get(SESSION))?.data.creds.registrationId, registrationId);
  });

  it('sees a set that nobody has waited for', async () => {
    const { state } = await open(freshFolder());
    const setting = state.keys.set({ 'lid-mapping': { a: 'b' } });
    assert.deepEqual(await state.keys.get('lid-mapping', ['a']), { a: 'b' });
    await setting;
    await state.keys.set({ 'lid-mapping': { a: null } });
    assert.deepEqual(await state.keys.get('lid-mapping', ['a']), {});
  });

  it('gives app state keys as messages of Baileys', async () => {
    const { proto } = await import('baileys');
    const { state } = await open(freshFolder());
    const key = proto.Message.AppStateSyncKeyData.fromObject({ keyData: Buffer.from([1, 2]), timestamp: 5 });
    await state.keys.set({ 'app-state-sync-key': { AAAA: key } });
    const found = (await state.keys.get('app-state-sync-key', ['AAAA'])).AAAA;
    assert.ok(found instanceof proto.Message.AppStateSyncKeyData);
    assert.deepEqual(Buffer.from(found.keyData ?? []), Buffer.from([1, 2]));
    for await (const [id, value] of state.keys.list('app-state-sync-key')) {
      assert.equal(id, 'AAAA');
      assert.ok(value instanceof proto.Message.AppStateSyncKeyData);
    }
  });

  it('lists records and clears all but the creds', async () => {
    const { state, saveCreds, store } = await open(freshFolder());
    await saveCreds();
    const many = Object.fromEntries(Array.from({ length: 600 }, (_, index) => [String(index), `x${index}`]));
    await state.keys.set({ 'lid-mapping': many });
    const ids: string[] = [];
    for await (const id of state.keys.listIds('lid-mapping')) {
      ids.push(id);
    }
    const found: Record<string, string> = {};
    for await (const [id, value] of state.keys.list('lid-mapping')) {
      found[id] = value;
    }
    assert.deepEqual(ids.sort(), Object.keys(many).sort());
    assert.deepEqual(found, many);
    await state.keys.clear();
    assert.deepEqual(await state.keys.get('lid-mapping', ['1']), {});
    const left = await store.get(SESSION);
    assert.deepEqual(left?.data.keys, {});
    assert.equal(left?.data.creds.registrationId, state.creds.registrationId);
  });

  it('refuses what cannot be stored, and stores none of it', async () => {
    const { state } = await open(freshFolder());
    const patch = { 'lid-mapping': { a: 'b', c: (() => {}) as never } };
    await assert.rejects(
      async () => await state.keys.set(patch),
      (error) => {
        assert.ok(error instanceof ValueError);
        assert.match(error.path, /lid-mapping/);
        return true;
      },
    );
    assert.deepEqual(await state.keys.get('lid-mapping', ['a']), {});
  });
});

describe('errors', () => {
  it('of the core carry the stack of the program', async () => {
    const { state, store } = await open(freshFolder());
    await state.keys.set({ 'lid-mapping': { a: 'b' } });
    await store.delete(SESSION);
    async function programThatWrites(): Promise<void> {
      await state.keys.set({ 'lid-mapping': { a: 'c' } });
    }
    const error = await programThatWrites().then(
      () => assert.fail('wrote to a deleted session'),
      (reason: unknown) => reason,
    );
    assert.ok(error instanceof StorageError);
    assert.equal(error.code, 'SESSION_DELETED');
    assert.equal(error.sessionId, SESSION);
    assert.match(String(error.stack), /programThatWrites/);
  });

  it('of a wrong or missing key are errors, never a new identity', async () => {
    const folder = freshFolder();
    const { state, saveCreds, store } = await open(folder, { masterKey: KEY });
    await saveCreds();
    await store.close();
    await assert.rejects(useMultiFileAuthState(folder, { masterKey: OTHER_KEY }), (error) => {
      assert.ok(error instanceof EncryptionError);
      assert.doesNotMatch(String(error.stack), /0123456789abcdef|ffffffff/);
      return true;
    });
    await assert.rejects(useMultiFileAuthState(folder), (error) => error instanceof StorageError);
    const rotated = await open(folder, { masterKey: OTHER_KEY, previousMasterKeys: [KEY] });
    assert.equal(rotated.state.creds.registrationId, state.creds.registrationId);
    assert.deepEqual(await rotated.store.rotateKey(SESSION), { resealed: 1, total: 1 });
    await rotated.store.close();
    const later = await open(folder, { masterKey: OTHER_KEY });
    assert.equal(later.state.creds.registrationId, state.creds.registrationId);
  });
});

describe('a folder of Baileys’ own function', () => {
  it('is imported when first opened, once, and its files are moved', async () => {
    const ofBaileys = await import('baileys');
    const folder = freshFolder();
    const before = await ofBaileys.useMultiFileAuthState(folder);
    await before.saveCreds();
    await before.state.keys.set({
      'sender-key': { '1-2@g.us::3_1::4': Buffer.from('sender') },
      'lid-mapping': { a: 'b' },
    });
    const files = await Promise.all(
      (await readdir(folder)).map(
        async (file) => [file, await readFile(join(folder, file), 'utf8')] as const,
      ),
    );
    assert.equal(files.length, 3);
    const { state, store } = await open(folder);
    assert.deepEqual(state.creds.noiseKey.private, Buffer.from(before.state.creds.noiseKey.private));
    assert.deepEqual(await state.keys.get('sender-key', ['1-2@g.us::3_1::4']), {
      '1-2@g.us::3_1::4': Buffer.from('sender'),
    });
    assert.equal((await store.get(SESSION))?.version, 1);
    await state.keys.set({ 'lid-mapping': { a: 'c' } });
    await store.close();
    const into = (await readdir(folder)).find((name) => name.startsWith('imported-')) ?? '';
    for (const [file, content] of files) {
      assert.equal(await readFile(join(folder, into, file), 'utf8'), content);
    }
    const again = await open(folder);
    assert.deepEqual(await again.state.keys.get('lid-mapping', ['a']), { a: 'c' });
  });

  it('is imported once although two open it at the same time', async () => {
    const ofBaileys = await import('baileys');
    const folder = freshFolder();
    const before = await ofBaileys.useMultiFileAuthState(folder);
    await before.saveCreds();
    const both = await Promise.all([open(folder), open(folder)]);
    for (const { state, store } of both) {
      assert.equal(state.creds.registrationId, before.state.creds.registrationId);
      assert.equal((await store.get(SESSION))?.version, 1);
    }
  });

  it('with torn creds is an error until it is mended', async () => {
    const ofBaileys = await import('baileys');
    const folder = freshFolder();
    const before = await ofBaileys.useMultiFileAuthState(folder);
    await before.saveCreds();
    const whole = await readFile(join(folder, 'creds.json'), 'utf8');
    await writeFile(join(folder, 'creds.json'), whole.slice(0, 100));
    for (let attempt = 0; attempt < 2; attempt++) {
      await assert.rejects(useMultiFileAuthState(folder), (error) => error instanceof CorruptRecordError);
    }
    await writeFile(join(folder, 'creds.json'), whole);
    const { state } = await open(folder);
    assert.equal(state.creds.registrationId, before.state.creds.registrationId);
  });
});

describe('the store of a hook', () => {
  it('reads and writes any session', async () => {
    const { store } = await open(freshFolder());
    assert.equal(await store.get('a'), null);
    const creds = decodeValue(encodeValue((await import('baileys')).initAuthCreds())) as never;
    const first = await store.set('a', {
      creds,
      keys: { session: { '1.0': Buffer.from([1]) } },
      appState: { x: 1 },
    });
    assert.equal(first.success, true);
    assert.ok(first.updatedAt instanceof Date);
    const second = await store.set('a', { keys: { session: { '1.0': null, '2.0': 'y' } } }, first.version);
    assert.equal(second.version, first.version + 1);
    const found = await store.get('a');
    assert.deepEqual(found, {
      data: { creds, keys: { session: { '2.0': 'y' } }, appState: { x: 1 } },
      version: second.version,
      updatedAt: second.updatedAt,
    });
    await assert.rejects(store.set('a', { appState: { x: 2 } }, first.version), (error) => {
      assert.ok(error instanceof VersionMismatchError);
      assert.deepEqual([error.expected, error.actual], [first.version, second.version]);
      return true;
    });
    assert.deepEqual([await store.exists('a'), await store.exists('b')], [true, false]);
    assert.deepEqual(await store.list(), ['a']);
    assert.deepEqual(
      [...(await store.batchGet(['a', 'b']))],
      [
        ['a', found],
        ['b', null],
      ],
    );
    const written = await store.batchSet([
      { sessionId: 'b', patch: { creds } },
      { sessionId: 'a', patch: { creds }, expectedVersion: 99 },
    ]);
    assert.deepEqual([[...written.successful.keys()], [...written.failed.keys()]], [['b'], ['a']]);
    const removed = await store.batchDelete(['a', 'b']);
    assert.deepEqual([...removed.successful.keys()].sort(), ['a', 'b']);
    assert.equal(await store.get('a'), null);
    assert.equal(await store.isHealthy(), true);
    assert.equal(store.stats().backend, 'embedded');
  });

  it('refuses patches, ids and numbers of another shape', async () => {
    const { store } = await open(freshFolder());
    const wrong: (() => Promise<unknown>)[] = [
      () => store.set('a', { kreds: {} } as never),
      () => store.set('a', { creds: null } as never),
      () => store.set('a', { keys: { creds: {} } }),
      () => store.set('a', { keys: 'x' } as never),
      () => store.set('a', {}, -1),
      () => store.set('a', {}, undefined, 1.5),
      () => store.set('', {}),
      () => store.get(5 as never),
      () => store.touch('a', -5),
    ];
    for (const call of wrong) {
      await assert.rejects(call, (error) => error instanceof ValueError);
    }
    assert.deepEqual(await store.list(), []);
  });

  it('says after close that it is closed, and may be opened again', async () => {
    const { store } = await open(freshFolder());
    await store.set('a', { appState: { x: 1 } });
    await store.close();
    await store.close();
    await assert.rejects(store.get('a'), { code: 'CLOSED' });
    assert.throws(() => store.stats(), { code: 'CLOSED' });
    assert.equal(await store.isHealthy(), false);
    await store.connect();
    assert.deepEqual((await store.get('a'))?.data.appState, { x: 1 });
  });

  it('begins anew when its folder was removed under it, as bots do after a logout', async () => {
    const folder = freshFolder();
    const before = await open(folder);
    await before.saveCreds();
    await rm(folder, { recursive: true });
    const after = await open(folder);
    assert.notEqual(after.state.creds.advSecretKey, before.state.creds.advSecretKey);
    await after.saveCreds();
    await assert.rejects(before.saveCreds(), { code: 'CLOSED' });
    await before.store.close();
    await after.state.keys.set({ 'lid-mapping': { a: 'b' } });
    await after.store.close();
  });
});

describe('useHybridAuthState without servers', () => {
  it('keeps all sessions in one folder, and says so once', async () => {
    const path = freshFolder();
    const said: unknown[] = [];
    const logger = { debug() {}, info() {}, error() {}, warn: (message: string) => said.push(message) };
    const a = await useHybridAuthState({ sessionId: 'a', embedded: { path }, logger });
    const b = await useHybridAuthState({ sessionId: 'b', embedded: { path }, logger });
    opened.push(a.store, b.store);
    await Promise.all([a.saveCreds(), b.saveCreds()]);
    assert.deepEqual((await a.store.list()).sort(), ['a', 'b']);
    assert.notEqual(a.state.creds.noiseKey.private, b.state.creds.noiseKey.private);
    assert.equal(said.filter((message) => /no servers/.test(String(message))).length, 1);
    assert.equal(a.store.isMongoCircuitBreakerOpen(), false);
    assert.equal(a.store.getOutboxStats(), null);
  });

  it('takes a section without URLs for a mistake', async () => {
    const hybrid = { redisUrl: undefined, mongoUrl: undefined as never };
    await assert.rejects(useHybridAuthState({ sessionId: 'a', hybrid }), { field: 'hybrid.redisUrl' });
  });
});

describe('processes and threads', () => {
  it('a second process is told who holds the folder, and gets it once it is let go', async () => {
    const folder = freshFolder();
    const body = `
      const { saveCreds, store } = await vault.useMultiFileAuthState(${JSON.stringify(folder)});
      await saveCreds();
      console.log('holding');
      process.stdin.once('data', async () => { await store.close(); process.exit(); });
    `;
    const holder = spawn(process.execPath, program(body), { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      await once(holder.stdout, 'data');
      await assert.rejects(useMultiFileAuthState(folder, { openTimeout: 0 }), (error) => {
        assert.ok(error instanceof SessionBusyError);
        assert.equal(error.retryable, true);
        assert.match(JSON.stringify([error.holder, error.message]), new RegExp(String(holder.pid)));
        return true;
      });
      const waiting = open(folder);
      holder.stdin.write('go\n');
      await waiting;
    } finally {
      holder.kill();
    }
  });

  it('a process ends by itself although nothing was closed, and loses nothing', async () => {
    const folder = freshFolder();
    const body = `
      const { state } = await vault.useMultiFileAuthState(${JSON.stringify(folder)});
      await state.keys.set({ 'lid-mapping': { a: 'b' } });
    `;
    const { status, stderr } = spawnSync(process.execPath, program(body), {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(status, 0, stderr);
    const { state } = await open(folder);
    assert.deepEqual(await state.keys.get('lid-mapping', ['a']), { a: 'b' });
  });

  it('worker threads share the session', async () => {
    const folder = freshFolder();
    const { state } = await open(folder);
    await state.keys.set({ 'lid-mapping': { a: 'b' } });
    const worker = new Worker(
      `require('tsx/cjs');
       const { parentPort } = require('node:worker_threads');
       const vault = require(${JSON.stringify(FACE)});
       (async () => {
         const { state, store } = await vault.useMultiFileAuthState(${JSON.stringify(folder)});
         const found = await state.keys.get('lid-mapping', ['a']);
         await state.keys.set({ 'lid-mapping': { c: 'd' } });
         await store.close();
         parentPort.postMessage(found);
       })();`,
      { eval: true },
    );
    const [found] = await once(worker, 'message');
    await once(worker, 'exit');
    assert.deepEqual(found, { a: 'b' });
    assert.deepEqual(await state.keys.get('lid-mapping', ['c']), { c: 'd' });
  });
});
