import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Case } from '../case.js';
import { expectRecord, read, sameIdentity } from '../compare.js';
import { Party } from '../party.js';

/** As many as Baileys makes at the first login. */
const PRE_KEYS = 812;

export const restarts: readonly Case[] = [
  {
    id: 'restarts.creds-first',
    title: 'knows credentials saved before any key (the restart that pairing asks for)',
    run: async (bench) => {
      const first = await bench.start();
      first.creds.registered = true;
      await first.saveCreds();
      const second = await bench.restart(first);
      ok(sameIdentity(second.creds, first.creds), 'a new identity took the place of the saved one');
      strictEqual(second.creds.registered, true);
    },
  },
  {
    id: 'restarts.keys-first',
    title: 'knows keys set before the credentials were ever saved',
    run: async (bench) => {
      const first = await bench.start();
      await first.keys.set({ 'pre-key': { 1: { n: 1 } } });
      const { keys } = await bench.restart(first);
      deepStrictEqual(await read(keys, 'pre-key', '1'), { n: 1 });
    },
  },
  {
    id: 'restarts.pre-keys',
    title: `keeps ${PRE_KEYS} pre-keys set in one call`,
    run: async (bench) => {
      const opened = await bench.start();
      const { newPreKeys } = bench.baileys.generateOrGetPreKeys(opened.creds, PRE_KEYS);
      await opened.keys.set({ 'pre-key': newPreKeys });
      const { keys } = await bench.restart(opened);
      const ids = Object.keys(newPreKeys);
      strictEqual(ids.length, PRE_KEYS);
      const found = await keys.get('pre-key', ids);
      for (const id of ids) {
        expectRecord(bench.baileys, 'pre-key', id, found[id], newPreKeys[id]);
      }
    },
  },
  {
    id: 'restarts.many',
    title: 'loses nothing over ten restarts',
    run: async (bench) => {
      let opened = await bench.start();
      const { creds } = opened;
      await opened.saveCreds();
      for (let n = 0; n < 10; n++) {
        await opened.keys.set({ session: { [n]: { n }, latest: { n } } });
        opened = await bench.restart(opened);
        const found = await opened.keys.get('session', [...Array(n + 1).keys()].map(String));
        deepStrictEqual(
          Object.values(found),
          Array.from({ length: n + 1 }, (_, index) => ({ n: index })),
        );
        deepStrictEqual(await read(opened.keys, 'session', 'latest'), { n });
        ok(sameIdentity(opened.creds, creds));
      }
    },
  },
  {
    id: 'restarts.close-drains',
    title: 'finishes what is under way before close resolves',
    run: async (bench) => {
      const opened = await bench.start();
      const done = Array.from({ length: 50 }, (_, n) =>
        opened.keys.set({ session: { [n]: { n, bytes: randomBytes(2000) } } }),
      );
      const again = await bench.restart(opened);
      const found = await again.keys.get('session', [...done.keys()].map(String));
      strictEqual(Object.values(found).filter(Boolean).length, 50);
      await Promise.all(done);
    },
  },
  {
    id: 'restarts.opened-twice',
    title: 'is one session when opened twice, as programs do at each reconnect',
    run: async (bench) => {
      const first = await bench.start();
      await first.saveCreds();
      await first.keys.set({ session: { a: { n: 1 } } });
      const second = await bench.start();
      ok(sameIdentity(first.creds, second.creds));
      await second.keys.set({ session: { a: { n: 2 }, b: { n: 2 } } });
      deepStrictEqual(await read(first.keys, 'session', 'a'), { n: 2 });
      await first.keys.set({ session: { b: { n: 3 } } });
      deepStrictEqual(await read(second.keys, 'session', 'b'), { n: 3 });
      await first.close();
      await second.keys.set({ session: { c: { n: 4 } } });
      deepStrictEqual(await read(second.keys, 'session', 'c'), { n: 4 });
    },
  },
  {
    id: 'restarts.conversation',
    title: 'goes on with Signal conversations and groups after restarts',
    run: async (bench) => {
      const { baileys } = bench;
      const bob = Party.inMemory(baileys, '15550002222@s.whatsapp.net');
      let opened = await bench.start();
      const asAlice = () => new Party(baileys, '15550001111@s.whatsapp.net', opened.creds, opened.keys);
      let alice = asAlice();
      await bob.meet(alice);
      await opened.saveCreds();
      for (let round = 0; round < 4; round++) {
        await bob.tell(alice, `to alice ${round}`);
        opened = await bench.restart(opened);
        alice = asAlice();
        await alice.tell(bob, `to bob ${round}`);
        await alice.tellGroup(bob, `to all ${round}`);
        await bob.tellGroup(alice, `to all again ${round}`);
      }
    },
  },
];
