import { deepStrictEqual, ok } from 'node:assert/strict';
import type { Case } from '../case.js';
import { read, sameIdentity } from '../compare.js';

export const extras: readonly Case[] = [
  {
    id: 'extras.clear',
    title: 'clears every key and spares the credentials',
    capability: 'clear',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.saveCreds();
      await opened.keys.set({ session: { a: { n: 1 } }, 'pre-key': { 1: { n: 1 } } });
      await opened.keys.clear?.();
      deepStrictEqual(await read(opened.keys, 'session', 'a'), undefined);
      await opened.keys.set({ session: { b: { n: 2 } } });
      const again = await bench.restart(opened);
      ok(sameIdentity(again.creds, opened.creds));
      deepStrictEqual(await read(again.keys, 'pre-key', '1'), undefined);
      deepStrictEqual(await read(again.keys, 'session', 'b'), { n: 2 });
    },
  },
  {
    id: 'extras.list',
    title: 'lists the records of one type, and their ids',
    capability: 'list',
    run: async (bench) => {
      const stored = Object.fromEntries(Array.from({ length: 600 }, (_, n) => [`${n}`, { n }]));
      const opened = await bench.start();
      await opened.keys.set({
        'pre-key': stored,
        'pre-key-like': { x: { n: -1 } },
        session: { y: { n: -1 } },
      });
      await opened.keys.set({ 'pre-key': { 0: null } });
      delete stored['0'];
      const { keys } = await bench.restart(opened);
      ok(keys.list !== undefined && keys.listIds !== undefined);
      const listed: (readonly [string, unknown])[] = [];
      for await (const entry of keys.list('pre-key')) {
        listed.push(entry);
      }
      deepStrictEqual(Object.fromEntries(listed), stored);
      const ids: string[] = [];
      for await (const id of keys.listIds('pre-key')) {
        ids.push(id);
      }
      deepStrictEqual(ids.sort(), Object.keys(stored).sort());
    },
  },
];
