import { deepStrictEqual, notStrictEqual } from 'node:assert/strict';
import type { Case } from '../case.js';
import { read } from '../compare.js';

interface Value {
  bytes: Buffer;
  list: number[];
}

const make = (): Value => ({ bytes: Buffer.from([1, 2, 3]), list: [1] });

function spoil(value: Value): void {
  value.bytes.fill(0xff);
  value.list.push(666);
}

export const aliasing: readonly Case[] = [
  {
    id: 'aliasing.results',
    title: 'gives a fresh object each time: changing a result changes nothing stored',
    run: async (bench) => {
      const { keys } = await bench.start();
      await keys.set({ session: { a: make() } });
      const first = (await read(keys, 'session', 'a')) as Value;
      spoil(first);
      const second = (await read(keys, 'session', 'a')) as Value;
      notStrictEqual(second, first);
      deepStrictEqual(second, make());
    },
  },
  {
    id: 'aliasing.arguments',
    title: 'does not see what becomes of an argument after the awaited call',
    run: async (bench) => {
      const { keys } = await bench.start();
      const value = make();
      await keys.set({ session: { a: value } });
      spoil(value);
      deepStrictEqual(await read(keys, 'session', 'a'), make());
    },
  },
  {
    id: 'aliasing.arguments-unawaited',
    title: 'does not see what becomes of an argument before the call is awaited',
    run: async (bench) => {
      const { keys } = await bench.start();
      const value = make();
      const done = keys.set({ session: { a: value } });
      spoil(value);
      await done;
      deepStrictEqual(await read(keys, 'session', 'a'), make());
    },
  },
  {
    id: 'aliasing.patch-unawaited',
    title: 'does not see what becomes of the call’s own objects before it is awaited',
    run: async (bench) => {
      const { keys } = await bench.start();
      const patch: Record<string, Record<string, unknown>> = { session: { a: make(), b: make() } };
      const done = keys.set(patch);
      delete patch.session?.b;
      Object.assign(patch, { 'pre-key': { 1: make() } });
      await done;
      deepStrictEqual(await read(keys, 'session', 'b'), make());
      deepStrictEqual(await read(keys, 'pre-key', '1'), undefined);
    },
  },
  {
    id: 'aliasing.ids-unawaited',
    title: 'does not see what becomes of the list of ids after the call',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.keys.set({ session: { a: make(), b: make() } });
      // After a restart nothing can be answered from memory.
      const { keys } = await bench.restart(opened);
      const asked = ['a', 'b'];
      const answer = keys.get('session', asked);
      asked.reverse();
      asked.length = 1;
      const found = await answer;
      deepStrictEqual([found.a, found.b], [make(), make()]);
    },
  },
];
