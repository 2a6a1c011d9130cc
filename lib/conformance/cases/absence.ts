import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import type { Case } from '../case.js';
import { read } from '../compare.js';

export const absence: readonly Case[] = [
  {
    id: 'absence.never-stored',
    title: 'has nothing for ids never stored, and says so without an error',
    run: async (bench) => {
      const { keys } = await bench.start();
      await keys.set({ session: { here: { n: 1 } } });
      const found = await keys.get('session', ['gone', 'here', 'also-gone']);
      deepStrictEqual(found.here, { n: 1 });
      ok((found.gone ?? undefined) === undefined && (found['also-gone'] ?? undefined) === undefined);
      strictEqual(await read(keys, 'never-used-type', 'gone'), undefined);
    },
  },
  {
    id: 'absence.null-deletes',
    title: 'deletes a record that is set to null, for good',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.keys.set({ 'pre-key': { 1: { n: 1 }, 2: { n: 2 } } });
      await opened.keys.set({ 'pre-key': { 1: null } });
      strictEqual(await read(opened.keys, 'pre-key', '1'), undefined);
      const { keys } = await bench.restart(opened);
      strictEqual(await read(keys, 'pre-key', '1'), undefined);
      deepStrictEqual(await read(keys, 'pre-key', '2'), { n: 2 });
    },
  },
  {
    id: 'absence.undefined-deletes',
    title: 'deletes a record that is set to undefined',
    run: async (bench) => {
      const { keys } = await bench.start();
      await keys.set({ session: { a: { n: 1 } } });
      await keys.set({ session: { a: undefined } });
      strictEqual(await read(keys, 'session', 'a'), undefined);
    },
  },
  {
    id: 'absence.delete-nothing',
    title: 'takes the deletion of a record that is not there',
    run: async (bench) => {
      const { keys } = await bench.start();
      await keys.set({ session: { gone: null }, 'never-used-type': { gone: null } });
      strictEqual(await read(keys, 'session', 'gone'), undefined);
    },
  },
  {
    id: 'absence.come-back',
    title: 'stores a record again after its deletion',
    run: async (bench) => {
      const opened = await bench.start();
      for (const value of [{ n: 1 }, null, { n: 2 }, null, { n: 3 }]) {
        await opened.keys.set({ session: { a: value } });
        deepStrictEqual(await read(opened.keys, 'session', 'a'), value ?? undefined);
      }
      const { keys } = await bench.restart(opened);
      deepStrictEqual(await read(keys, 'session', 'a'), { n: 3 });
    },
  },
  {
    id: 'absence.mixed',
    title: 'puts and deletes records of several types in one call',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.keys.set({ 'pre-key': { 7: { n: 7 } }, session: { a: { n: 1 } } });
      await opened.keys.set({ 'pre-key': { 7: null, 8: { n: 8 } }, session: { a: { n: 2 }, b: null } });
      const { keys } = await bench.restart(opened);
      strictEqual(await read(keys, 'pre-key', '7'), undefined);
      deepStrictEqual(await read(keys, 'pre-key', '8'), { n: 8 });
      deepStrictEqual(await read(keys, 'session', 'a'), { n: 2 });
    },
  },
  {
    id: 'absence.empty-calls',
    title: 'takes calls that ask for nothing',
    run: async (bench) => {
      const { keys } = await bench.start();
      await keys.set({ session: { a: { n: 1 } } });
      await keys.set({});
      await keys.set({ session: {} });
      await keys.set({ session: undefined, 'pre-key': {} });
      deepStrictEqual({ ...(await keys.get('session', [])) }, {});
      deepStrictEqual(await read(keys, 'session', 'a'), { n: 1 });
    },
  },
];
