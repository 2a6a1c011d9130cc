import { deepStrictEqual } from 'node:assert/strict';
import type { Case } from '../case.js';
import { expectRecord, named, read } from '../compare.js';
import type { Workbench } from '../workbench.js';

/** Stores a record under each name by itself, then expects each to hold its own. */
async function keepApart(
  bench: Workbench,
  names: readonly (readonly [type: string, id: string])[],
): Promise<void> {
  const opened = await bench.start();
  for (const [index, [type, id]] of names.entries()) {
    await opened.keys.set({ [type]: named(id, { index }) });
  }
  for (const session of [opened, await bench.restart(opened)]) {
    if (session === opened) {
      continue;
    }
    for (const [index, [type, id]] of names.entries()) {
      expectRecord(bench.baileys, type, id, await read(session.keys, type, id), { index });
    }
  }
}

const ofSession = (...ids: string[]): [string, string][] => ids.map((id) => ['session', id]);

export const ids: readonly Case[] = [
  {
    id: 'ids.usual',
    title: 'keeps the ids of Baileys apart: addresses, jids, base64, group senders',
    run: (bench) =>
      keepApart(bench, [
        ...ofSession('15550001111.0', '15550001111.1', '15550001111_1.1'),
        ['sender-key', '120363025246125486@g.us::15550001111::0'],
        ['sender-key', '15550001111-1609459200@g.us::15550001111::0'],
        ['bridge-base64', 'AAAA/1Bs'],
        ['bridge-base64', 'AAAA+1Bs=='],
        ['tctoken', '15550001111:2@s.whatsapp.net'],
        ['lid-mapping', '314159265358979_reverse'],
        ['pre-key', '1'],
        ['pre-key', '16777215'],
      ]),
  },
  {
    id: 'ids.slash',
    title: 'keeps a/b and a__b apart',
    run: (bench) => keepApart(bench, ofSession('a/b', 'a__b', 'a_/b')),
  },
  {
    id: 'ids.colon',
    title: 'keeps x:1 and x-1 apart',
    run: (bench) => keepApart(bench, ofSession('x:1', 'x-1', 'x::1', 'x--1')),
  },
  {
    id: 'ids.type-boundary',
    title: 'keeps types apart of which one begins with the other',
    run: (bench) =>
      keepApart(bench, [
        ['sender-key', 'memory-a'],
        ['sender-key-memory', 'a'],
      ]),
  },
  {
    id: 'ids.creds',
    title: 'keeps records apart from the credentials, whatever they are called',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.saveCreds();
      const { advSecretKey } = opened.creds;
      await opened.keys.set({
        session: { creds: { n: 1 } },
        bridge: { creds: { n: 2 }, 'creds.json': { n: 3 } },
      });
      const again = await bench.restart(opened);
      deepStrictEqual(again.creds.advSecretKey, advSecretKey);
      deepStrictEqual(await read(again.keys, 'session', 'creds'), { n: 1 });
    },
  },
  {
    id: 'ids.case',
    title: 'keeps upper and lower case apart',
    run: (bench) => keepApart(bench, ofSession('abc', 'ABC', 'aBc')),
  },
  {
    id: 'ids.unicode',
    title: 'keeps ids in any script, and look-alikes apart',
    run: (bench) => keepApart(bench, ofSession('日本語', '🌋', 'Zoe\u0308', 'Zo\u00eb', 'عربى')),
  },
  {
    id: 'ids.punctuation',
    title: 'keeps ids of punctuation and spaces',
    run: (bench) =>
      keepApart(
        bench,
        ofSession('.', '..', '-', '--', '__', ' ', ' a', 'a ', '%2f', '*', '?', '"', "'", '\\', '{a}'),
      ),
  },
  {
    id: 'ids.parent-folder',
    title: 'keeps ids that look like paths',
    run: (bench) => keepApart(bench, ofSession('../a', '/a', 'a/../b', './a', 'C:\\a')),
  },
  {
    id: 'ids.object-members',
    title: 'keeps ids that objects have as members',
    run: (bench) =>
      keepApart(bench, ofSession('constructor', 'toString', 'hasOwnProperty', 'length', 'then')),
  },
  {
    id: 'ids.proto',
    title: 'keeps a record named __proto__ and gives it as a property like any other',
    run: (bench) => keepApart(bench, ofSession('__proto__', 'proto')),
  },
  {
    id: 'ids.long',
    title: 'keeps ids of 200 characters apart that differ at the end',
    run: (bench) => keepApart(bench, ofSession(`${'a'.repeat(199)}b`, `${'a'.repeat(199)}c`)),
  },
  {
    id: 'ids.very-long',
    title: 'keeps ids of 2,000 characters apart that differ at the end',
    capability: 'veryLongIds',
    run: (bench) => keepApart(bench, ofSession(`${'a'.repeat(1999)}b`, `${'a'.repeat(1999)}c`)),
  },
  {
    id: 'ids.many',
    title: 'answers one call for a thousand ids, repeated and unknown ones too',
    run: async (bench) => {
      const stored = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`${n}`, { n }]));
      const { keys } = await bench.start();
      await keys.set({ 'pre-key': stored });
      const asked = Array.from({ length: 1000 }, (_, n) => `${n}`);
      const found = await keys.get('pre-key', [...asked, '0', '499']);
      const kept = Object.entries(found).filter(([, value]) => (value ?? undefined) !== undefined);
      deepStrictEqual(Object.fromEntries(kept), stored);
    },
  },
];
