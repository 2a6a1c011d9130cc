/**
 * Programs whose worker threads load the addon before anybody else does:
 * `node threads.mjs <part> <folder>`. The main thread says `whole` once everything that was acknowledged is there.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

/** Loaded where it is needed, so that the main thread has not loaded the addon before its workers do. */
const open = async (location) => (await import('../../crash/light.mjs')).folderSealed(location);

/** The size of what Baileys writes, so that allocations of several kinds are made. */
const record = (n) => ({ n, bytes: Buffer.alloc(n % 3000, n) });

async function write(location, from, count) {
  const { state, store } = await open(location);
  for (let n = from; n < from + count; n++) {
    await state.keys.set({ session: { [n]: record(n) }, 'pre-key': { [n]: null, last: { n } } });
  }
  await store.close();
}

async function check(location, count) {
  const { state, store } = await open(location);
  const ids = Array.from({ length: count }, (_, n) => `${n}`);
  const found = await state.keys.get('session', ids);
  for (const id of ids) {
    assert.deepEqual(found[id], record(Number(id)), `record ${id} of ${location}`);
  }
  await store.close();
}

const JOBS = {
  /** Writes, closes in order, ends. */
  async write({ location, from, count }) {
    await write(location, from, count);
  },

  /** Writes until it is terminated, and says what was acknowledged. */
  async writeOn({ location, from }) {
    const { state } = await open(location);
    for (let n = from; ; n++) {
      await state.keys.set({ session: { [n]: record(n) } });
      parentPort.postMessage(n);
    }
  },

  /** Loads the addon, and writes whenever it is told to. */
  async stay({ location }) {
    const { state, store } = await open(location);
    let n = 0;
    parentPort.on('message', async (word) => {
      if (word === 'close') {
        await store.close();
        parentPort.postMessage(n);
        parentPort.close();
        return;
      }
      for (const end = n + 50; n < end; n++) {
        await state.keys.set({ session: { [n]: record(n) } });
      }
      parentPort.postMessage(n);
    });
    parentPort.postMessage(n);
  },
};

const start = (job, data) =>
  new Worker(fileURLToPath(import.meta.url), { workerData: { job, ...data }, argv: [] });

/** Resolves with what the worker says next. */
const heard = (worker) =>
  new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });

const ended = (worker) =>
  new Promise((resolve, reject) => {
    worker.once('exit', resolve);
    worker.once('error', reject);
  });

async function ask(worker, word) {
  const answer = heard(worker);
  worker.postMessage(word);
  return await answer;
}

const PARTS = {
  async 'one-after-another'(folder) {
    const location = join(folder, 'bot');
    for (let round = 0; round < 6; round++) {
      await ended(start('write', { location, from: round * 20, count: 20 }));
    }
    await check(location, 120);
  },

  async 'first-terminated'(folder) {
    const [one, two] = [join(folder, 'one'), join(folder, 'two')];
    const first = start('stay', { location: one });
    await heard(first);
    const sibling = start('stay', { location: two });
    await heard(sibling);
    const written = await ask(first, 'write');
    await first.terminate();
    for (let round = 0; round < 3; round++) {
      await ask(sibling, 'write');
    }
    // The main thread comes to it last.
    await check(one, written);
    await write(join(folder, 'three'), 0, 20);
    await ask(sibling, 'write');
    const gone = ended(sibling);
    await ask(sibling, 'close');
    await gone;
    await check(two, 200);
    await check(join(folder, 'three'), 20);
  },

  async 'forty-at-once'(folder) {
    const workers = Array.from({ length: 40 }, (_, n) =>
      start('write', { location: join(folder, `bot-${n}`), from: 0, count: 10 }),
    );
    await Promise.all(workers.map(ended));
    for (let n = 0; n < workers.length; n++) {
      await check(join(folder, `bot-${n}`), 10);
    }
  },

  async 'ended-in-mid-write'(folder) {
    const location = join(folder, 'bot');
    let acknowledged = -1;
    for (let round = 0; round < 8; round++) {
      const worker = start('writeOn', { location, from: acknowledged + 1 });
      const target = acknowledged + 5 + round * 3;
      await new Promise((resolve, reject) => {
        worker.on('message', (n) => {
          acknowledged = n;
          if (n >= target) {
            resolve();
          }
        });
        worker.once('error', reject);
      });
      await worker.terminate();
    }
    await check(location, acknowledged + 1);
    await write(location, acknowledged + 1, 20);
    await check(location, acknowledged + 21);
  },
};

if (isMainThread) {
  const [part, folder] = process.argv.slice(2);
  await PARTS[part](folder);
  process.stdout.write('whole\n');
} else {
  await JOBS[workerData.job](workerData);
}
