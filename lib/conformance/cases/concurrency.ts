import { deepStrictEqual, ok, rejects, strictEqual } from 'node:assert/strict';
import { type KeyStore, quietLogger, type TransactionalKeyStore } from '../baileys.js';
import type { Case } from '../case.js';
import { read, sameIdentity } from '../compare.js';
import { MemoryKeys } from '../party.js';

/** Fails unless records `0` to `count - 1` of `type` hold their own number. */
async function expectNumbered(keys: KeyStore, type: string, count: number): Promise<void> {
  const ids = Array.from({ length: count }, (_, n) => `${n}`);
  const found = await keys.get(type, ids);
  const lost = ids.filter((id) => (found[id] as { n?: number } | undefined)?.n !== Number(id));
  deepStrictEqual(lost, [], `${lost.length} of ${count} acknowledged records of ${type} are lost`);
}

const COUNTED = 20;

/** Counts to 20, each step in a transaction of its own; how far it got. */
async function count(keys: TransactionalKeyStore, atOnce: boolean): Promise<number> {
  const step = () =>
    keys.transaction(async () => {
      const { n } = ((await read(keys, 'session', 'count')) ?? { n: 0 }) as { n: number };
      await keys.set({ session: { count: { n: n + 1 } }, 'pre-key': { [n]: { n } } });
    }, 'count');
  const steps: Promise<void>[] = [];
  for (let at = 0; at < COUNTED; at++) {
    steps.push(step());
    if (!atOnce) {
      await steps.at(-1);
    }
  }
  await Promise.all(steps);
  return ((await read(keys, 'session', 'count')) as { n: number }).n;
}

export const concurrency: readonly Case[] = [
  {
    id: 'concurrency.sets',
    title: 'keeps all of 100 sets at once',
    run: async (bench) => {
      const opened = await bench.start();
      await Promise.all(Array.from({ length: 100 }, (_, n) => opened.keys.set({ session: { [n]: { n } } })));
      await expectNumbered(opened.keys, 'session', 100);
      await expectNumbered((await bench.restart(opened)).keys, 'session', 100);
    },
  },
  {
    id: 'concurrency.per-type',
    title: 'keeps sets made per type in parallel, as Baileys does outside of transactions',
    run: async (bench) => {
      const types = ['pre-key', 'session', 'sender-key', 'lid-mapping', 'device-list'];
      const opened = await bench.start();
      for (let n = 0; n < 10; n++) {
        await Promise.all(types.map((type) => opened.keys.set({ [type]: { [n]: { n } } })));
      }
      const { keys } = await bench.restart(opened);
      for (const type of types) {
        await expectNumbered(keys, type, 10);
      }
    },
  },
  {
    id: 'concurrency.last-wins',
    title: 'keeps the last of many sets of one record, in the order of the calls',
    run: async (bench) => {
      const opened = await bench.start();
      await Promise.all(Array.from({ length: 50 }, (_, n) => opened.keys.set({ session: { a: { n } } })));
      deepStrictEqual(await read(opened.keys, 'session', 'a'), { n: 49 });
      const { keys } = await bench.restart(opened);
      deepStrictEqual(await read(keys, 'session', 'a'), { n: 49 });
    },
  },
  {
    id: 'concurrency.read-your-write',
    title: 'sees a set that is not awaited yet',
    run: async (bench) => {
      const { keys } = await bench.start();
      for (let n = 0; n < 20; n++) {
        const done = keys.set({ session: { a: { n }, gone: n % 2 === 0 ? { n } : null } });
        const found = await keys.get('session', ['a', 'gone']);
        deepStrictEqual(found.a, { n });
        deepStrictEqual(found.gone ?? undefined, n % 2 === 0 ? { n } : undefined);
        await done;
      }
    },
  },
  {
    id: 'concurrency.not-torn',
    title: 'reads records written together as they were written together',
    run: async (bench) => {
      const { keys } = await bench.start();
      const padding = 'x'.repeat(20_000);
      const ids = ['a', 'b', 'c', 'd'];
      const patch = (n: number) => ({ session: Object.fromEntries(ids.map((id) => [id, { n, padding }])) });
      await keys.set(patch(0));
      let writing = true;
      const writer = (async () => {
        for (let n = 1; n <= 100; n++) {
          await keys.set(patch(n));
        }
        writing = false;
      })();
      let reads = 0;
      while (writing) {
        const found = (await keys.get('session', ids)) as Record<string, { n: number }>;
        const seen = new Set(ids.map((id) => found[id]?.n));
        strictEqual(seen.size, 1, `one read saw versions ${[...seen].join(', ')}`);
        reads += 1;
        // A store that answers from memory would otherwise never let the writer run.
        await new Promise(setImmediate);
      }
      await writer;
      ok(reads > 0);
    },
  },
  {
    id: 'concurrency.creds',
    title: 'keeps the last of many saves of the credentials',
    run: async (bench) => {
      const opened = await bench.start();
      const saves = Array.from({ length: 30 }, (_, n) => {
        opened.creds.nextPreKeyId = n + 1;
        return opened.saveCreds();
      });
      await Promise.all(saves);
      const again = await bench.restart(opened);
      strictEqual(again.creds.nextPreKeyId, 30);
      ok(sameIdentity(again.creds, opened.creds));
    },
  },
  {
    id: 'concurrency.creds-and-keys',
    title: 'keeps credentials and keys that are written at once',
    run: async (bench) => {
      const opened = await bench.start();
      const done: Promise<unknown>[] = [];
      for (let n = 0; n < 50; n++) {
        opened.creds.nextPreKeyId = n + 1;
        done.push(opened.keys.set({ 'pre-key': { [n]: { n } } }), opened.saveCreds());
      }
      await Promise.all(done);
      const again = await bench.restart(opened);
      strictEqual(again.creds.nextPreKeyId, 50);
      await expectNumbered(again.keys, 'pre-key', 50);
    },
  },
  {
    id: 'concurrency.transactions',
    title: 'commits Baileys’ own transactions, and nothing of one that throws',
    run: async (bench) => {
      const opened = await bench.start();
      const wrap = (keys: KeyStore) =>
        bench.baileys.addTransactionCapability(keys, quietLogger, {
          maxCommitRetries: 1,
          delayBetweenTriesMs: 0,
        });
      const keys = wrap(opened.keys);
      const atOnce = await count(wrap(new MemoryKeys()), true);
      // Those of Baileys 6 lose counts at once whatever the store; one after the other they must not.
      await count(keys, atOnce === COUNTED);
      const thrown = keys.transaction(async () => {
        await keys.set({ session: { count: { n: 666 } } });
        throw new Error('roll back');
      }, 'count');
      await rejects(thrown, /roll back/);
      const again = await bench.restart(opened);
      deepStrictEqual(await read(again.keys, 'session', 'count'), { n: COUNTED });
      await expectNumbered(again.keys, 'pre-key', COUNTED);
    },
  },
];
