import { deepStrictEqual, notStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Case } from '../case.js';
import { expectCreds, expectRecord, read } from '../compare.js';
import { makeAppStateKey, makePairedCreds, makeSamples, mutePatch } from '../samples.js';
import type { Workbench } from '../workbench.js';

/** Every type that Baileys stores, and what its records are. */
const TYPES: readonly (readonly [type: string, title: string])[] = [
  ['pre-key', 'one-time pre-keys'],
  ['session', 'Signal sessions of libsignal'],
  ['sender-key', 'sender keys of groups'],
  ['sender-key-memory', 'who has a sender key'],
  ['app-state-sync-key', 'app-state keys'],
  ['app-state-sync-version', 'app-state hashes with their index'],
  ['lid-mapping', 'LID mappings'],
  ['device-list', 'device lists'],
  ['tctoken', 'privacy tokens'],
  ['identity-key', 'identity keys'],
];

function ofType([type, title]: readonly [string, string]): Case {
  return {
    id: `values.${type}`,
    title: `gives back ${title} as they were, also after a restart`,
    run: async (bench) => {
      const samples = (await makeSamples(bench.baileys)).filter((sample) => sample.type === type);
      ok(samples.length > 0, `this Baileys made no ${type}`);
      let opened = await bench.start();
      for (const { id, value } of samples) {
        await opened.keys.set({ [type]: { [id]: value } });
      }
      for (let round = 0; round < 2; round++) {
        const found = await opened.keys.get(
          type,
          samples.map(({ id }) => id),
        );
        for (const { id, value } of samples) {
          expectRecord(bench.baileys, type, id, found[id], value);
        }
        opened = await bench.restart(opened);
      }
    },
  };
}

/** A case that stores values of a type no list knows, and expects them back both before and after a restart. */
function roundTrip(id: string, title: string, make: () => Record<string, unknown>): Case {
  return {
    id,
    title,
    run: async (bench) => {
      const stored = make();
      let opened = await bench.start();
      await opened.keys.set({ 'bridge-sample': stored });
      for (let round = 0; round < 2; round++) {
        const found = await opened.keys.get('bridge-sample', Object.keys(stored));
        for (const [name, value] of Object.entries(stored)) {
          deepStrictEqual(found[name], value, `${name} came back changed`);
        }
        opened = await bench.restart(opened);
      }
    },
  };
}

async function savesCreds(bench: Workbench, change: (creds: object) => void): Promise<void> {
  const { baileys } = bench;
  const first = await bench.start();
  change(first.creds);
  const stored = { ...first.creds };
  await first.saveCreds();
  const second = await bench.restart(first);
  expectCreds(baileys, second.creds, stored);
  await second.saveCreds();
  const third = await bench.restart(second);
  expectCreds(baileys, third.creds, stored);
}

export const values: readonly Case[] = [
  {
    id: 'values.creds-new',
    title: 'gives back new credentials as they were',
    run: (bench) => savesCreds(bench, () => {}),
  },
  {
    id: 'values.creds-paired',
    title: 'gives back the credentials of a paired device as they were',
    run: (bench) =>
      savesCreds(bench, (creds) => {
        Object.assign(creds, makePairedCreds(bench.baileys));
      }),
  },
  ...TYPES.map(ofType),
  {
    id: 'values.app-state-key-usable',
    title: 'gives back app-state keys that open what they sealed',
    run: async (bench) => {
      const { baileys } = bench;
      const { keyId, keyData } = makeAppStateKey(baileys);
      const first = await bench.start();
      await first.keys.set({ 'app-state-sync-key': { [keyId]: keyData } });
      const { keys } = await bench.restart(first);
      const empty = baileys.newLTHashState();
      const { patch } = await baileys.encodeSyncdPatch(mutePatch(1), keyId, empty, async () => keyData);
      const seen: string[][] = [];
      await baileys.decodeSyncdPatch(
        { ...patch, version: { version: 1 } },
        'critical_unblock_low',
        empty,
        (id) => read(keys, 'app-state-sync-key', id),
        ({ index }) => seen.push(index),
        true,
      );
      strictEqual(seen.length, 1);
    },
  },
  {
    id: 'values.bytes',
    title: 'gives back bytes of every kind as Buffers',
    run: async (bench) => {
      const pool = randomBytes(64);
      const kinds: Record<string, Uint8Array> = {
        buffer: randomBytes(32),
        array: new Uint8Array(randomBytes(32)),
        view: pool.subarray(7, 21),
        empty: Buffer.alloc(0),
      };
      let opened = await bench.start();
      await opened.keys.set({ 'bridge-sample': { top: kinds.array, nested: { deep: [kinds] } } });
      for (let round = 0; round < 2; round++) {
        const { top, nested } = (await opened.keys.get('bridge-sample', ['top', 'nested'])) as {
          top: unknown;
          nested: { deep: Record<string, unknown>[] };
        };
        const found = { ...nested.deep[0], top };
        for (const [name, bytes] of Object.entries({ ...kinds, top: kinds.array })) {
          const value = found[name as keyof typeof found] as unknown;
          ok(Buffer.isBuffer(value), `${name} is not a Buffer`);
          ok(value.equals(bytes as Uint8Array), `${name} came back changed`);
        }
        opened = await bench.restart(opened);
      }
    },
  },
  roundTrip('values.strings', 'gives back text of every kind', () => ({
    empty: { text: '' },
    beyond: { text: 'Zoë 🌋 日本語 \u0000 \u2028 "\\' },
    surrogate: { text: 'half \ud83d of a pair' },
    long: { text: 'x'.repeat(300_000) },
  })),
  roundTrip('values.numbers', 'gives back numbers of every size', () => ({
    all: [0, -1, 255, 2 ** 31, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, -(2 ** 53), 1.5, 1e-300, 1e300],
  })),
  roundTrip('values.shapes', 'gives back nested objects and arrays, empty ones too', () => ({
    nested: { a: { b: { c: [{}, [], [[]], { d: null, e: false, f: true }] } } },
    list: ['0', null, { x: 'y' }],
  })),
  {
    id: 'values.falsy',
    title: 'deletes what Baileys’ own store does: a record whose value is false, 0 or empty text',
    run: async (bench) => {
      const falsy = { no: false, zero: 0, text: '' };
      const ids = Object.keys(falsy);
      let opened = await bench.start();
      await opened.keys.set({ 'bridge-sample': Object.fromEntries(ids.map((id) => [id, { n: 1 }])) });
      await opened.keys.set({ 'bridge-sample': falsy });
      for (let round = 0; round < 2; round++) {
        for (const id of ids) {
          strictEqual(await read(opened.keys, 'bridge-sample', id), undefined, id);
        }
        opened = await bench.restart(opened);
      }
    },
  },
  roundTrip('values.unknown-type', 'keeps types that no list knows', () => ({
    '1': { bytes: randomBytes(8), text: 'kept as it is' },
  })),
  roundTrip('values.large', 'gives back a record of a megabyte', () => ({
    big: { bytes: randomBytes(1 << 20) },
  })),
  {
    id: 'values.undefined-fields',
    title: 'drops fields that are undefined',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.keys.set({ 'bridge-sample': { a: { kept: 1, dropped: undefined } } });
      deepStrictEqual(await read(opened.keys, 'bridge-sample', 'a'), { kept: 1 });
    },
  },
  {
    id: 'values.new-identity',
    title: 'makes an identity of its own for each new session, and keeps their keys apart',
    run: async (bench) => {
      const one = await bench.start(await bench.newLocation());
      strictEqual(one.creds.registered, false);
      await one.saveCreds();
      await one.keys.set({ session: { a: { n: 1 } } });
      const other = await bench.start(await bench.newLocation());
      notStrictEqual(one.creds.advSecretKey, other.creds.advSecretKey);
      strictEqual(await read(other.keys, 'session', 'a'), undefined);
    },
  },
];
