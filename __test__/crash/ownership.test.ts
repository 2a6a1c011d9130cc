/** One owner at a time: other processes, other threads, other handles, and what becomes of them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Child, light, makeFolder } from './support.js';

/** The time in which an opening that need not wait is over, however busy the machine. */
const SOON_MS = 8_000;

describe('two processes', () => {
  it('refuses the second and names the holder', async (t) => {
    const { folder, vault } = await light();
    const location = await makeFolder(t);
    const holder = new Child(t, 'hold', location);
    assert.equal(await holder.next(), 'open');
    await assert.rejects(folder(location, { openTimeout: 50 }), (error: unknown) => {
      assert.ok(error instanceof vault.SessionBusyError, String(error));
      assert.equal(error.code, 'SESSION_BUSY');
      assert.equal(error.retryable, true);
      assert.match(error.message, new RegExp(`\\b${holder.process.pid}\\b`));
      assert.equal((error.holder as { pid: number }).pid, holder.process.pid);
      return true;
    });
  });

  it('lets the second in at once when the holder was killed', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const holder = new Child(t, 'hold', location);
    await holder.next();
    await holder.crash();
    const { state, store } = await folder(location, { openTimeout: 0 });
    assert.deepEqual(await state.keys.get('session', ['held']), { held: { by: holder.process.pid } });
    await store.close();
  });

  it('lets a waiting second in when the holder is killed', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const holder = new Child(t, 'hold', location);
    await holder.next();
    const opening = folder(location, { openTimeout: SOON_MS });
    await holder.crash();
    await (await opening).store.close();
  });

  it('hands over when the holder closes', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const holder = new Child(t, 'hold', location);
    await holder.next();
    const opening = folder(location, { openTimeout: SOON_MS });
    holder.tell('close');
    const { state, store } = await opening;
    assert.deepEqual(await state.keys.get('session', ['held']), { held: { by: holder.process.pid } });
    assert.equal(await holder.next(), 'closed');
    const { code, errors } = await holder.ended();
    assert.deepEqual({ code, errors }, { code: 0, errors: '' });
    await store.close();
  });
});

describe('one process', () => {
  it('shares a session that it opens twice', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const first = await folder(location);
    const second = await folder(location);
    const versions: number[] = [];
    for (const [n, { state, store }] of [first, second, first, second].entries()) {
      await state.keys.set({ session: { [n]: { n } as never, latest: { n } as never } });
      const found = await store.get('default');
      assert.ok(found);
      versions.push(found.version);
    }
    const [start = 0] = versions;
    assert.deepEqual(versions, [start, start + 1, start + 2, start + 3]);
    await first.store.close();
    await second.state.keys.set({ session: { latest: { n: 5 } as never } });
    assert.deepEqual(await second.state.keys.get('session', ['0', 'latest']), {
      0: { n: 0 },
      latest: { n: 5 },
    });
    await second.store.close();
    // Nobody holds it now, so another process may have it.
    const other = new Child(t, 'hold', location);
    assert.equal(await other.next(), 'open');
  });

  it('keeps the session for the second handle against other processes when the first is closed', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const first = await folder(location);
    const second = await folder(location);
    await first.store.close();
    const other = new Child(t, 'hold', location);
    await second.state.keys.set({ session: { held: { by: 'second' } as never } });
    await second.store.close();
    assert.equal(await other.next(), 'open');
  });

  it('refuses the use of a closed handle', async (t) => {
    const { folder, vault } = await light();
    const { state, saveCreds, store } = await folder(await makeFolder(t));
    await store.close();
    const closed = (error: unknown) => error instanceof vault.StorageError && error.code === 'CLOSED';
    await assert.rejects(async () => state.keys.get('session', ['a']), closed);
    await assert.rejects(async () => state.keys.set({ session: { a: { n: 1 } as never } }), closed);
    await assert.rejects(saveCreds(), closed);
    await assert.rejects(async () => state.keys.clear(), closed);
    await assert.rejects(store.get('default'), closed);
    await store.close();
  });

  it('finishes before close resolves what was begun before', async (t) => {
    const { folder, vault } = await light();
    const location = await makeFolder(t);
    const { state, store } = await folder(location);
    const put = async (id: number) => state.keys.set({ session: { [id]: { id } as never } });
    const begun = Array.from({ length: 100 }, (_, id) => put(id));
    const closing = store.close();
    // Refused or kept, but not acknowledged and lost.
    const late = await put(100).then(
      () => true,
      (error: unknown) => {
        assert.ok(error instanceof vault.StorageError && error.code === 'CLOSED', String(error));
        return false;
      },
    );
    await Promise.all([closing, ...begun]);
    await assert.rejects(put(101), vault.StorageError);
    const again = await folder(location, { openTimeout: 0 });
    const found = await again.state.keys.get(
      'session',
      Array.from({ length: 102 }, (_, id) => `${id}`),
    );
    assert.equal(Object.keys(found).length, late ? 101 : 100);
    await again.store.close();
  });
});

describe('worker threads', () => {
  const CODE = `
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { folder } = await import(workerData.light);
      const { state } = await folder(workerData.location);
      const { main } = await state.keys.get('session', ['main']);
      await state.keys.set({ session: { worker: { saw: main.n } } });
      parentPort.postMessage('written');
      for (let n = 0; ; n++) {
        await state.keys.set({ 'pre-key': { 1: { n }, 2: { n } } });
      }
    })();`;

  it('share the session, also when one is ended in the middle of writing', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const { state, store } = await folder(location);
    for (let round = 0; round < 3; round++) {
      await state.keys.set({ session: { main: { n: round } as never } });
      const worker = new Worker(CODE, {
        eval: true,
        workerData: { light: require.resolve('./light.mjs'), location },
      });
      await once(worker, 'message');
      assert.deepEqual(await state.keys.get('session', ['worker']), { worker: { saw: round } });
      await worker.terminate();
      const found = (await state.keys.get('pre-key', ['1', '2'])) as Record<string, unknown>;
      assert.deepEqual(found[1], found[2]);
    }
    await store.close();
    const again = await folder(location);
    assert.deepEqual(await again.state.keys.get('session', ['worker']), { worker: { saw: 2 } });
    await again.store.close();
  });
});

describe('the end of a process', () => {
  it('process.exit in the middle of writing loses nothing acknowledged and ends at once', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const child = new Child(t, 'exit', location);
    const acknowledged = (await child.rest()).map(Number);
    const { code, errors } = await child.ended();
    assert.deepEqual({ code, errors }, { code: 7, errors: '' });
    assert.equal(acknowledged.at(-1), 300);
    const { state, store } = await folder(location, { openTimeout: 0 });
    const found = await state.keys.get('pre-key', acknowledged.map(String));
    assert.equal(Object.keys(found).length, 300);
    const { left, right } = (await state.keys.get('session', ['left', 'right'])) as Record<string, unknown>;
    assert.deepEqual(left, right);
    await store.close();
  });

  it('an idle store does not keep a process alive', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const child = new Child(t, 'idle', location);
    assert.deepEqual(await child.rest(), ['idle']);
    const { code, errors } = await child.ended();
    assert.deepEqual({ code, errors }, { code: 0, errors: '' });
    const { state, store } = await folder(location, { openTimeout: 0 });
    assert.deepEqual(await state.keys.get('session', ['a']), { a: { n: 1 } });
    await store.close();
  });

  it('a write under way does keep it alive', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    const child = new Child(t, 'unawaited', location);
    assert.deepEqual(await child.rest(), ['written']);
    assert.equal((await child.ended()).code, 0);
    const { state, store } = await folder(location, { openTimeout: 0 });
    assert.deepEqual(await state.keys.get('session', ['a']), { a: { n: 2 } });
    await store.close();
  });
});
