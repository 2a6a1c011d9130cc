/**
 * Hands a store in a folder what programs hand it by mistake: `node values.mjs <folder> <baileys>`. Prints as JSON what
 * came of it, beside what Baileys' own `useMultiFileAuthState` does where the two must agree.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { runInNewContext } from 'node:vm';

const vault = createRequire(import.meta.url)('../../../dist/index.js');
const [, , folder, name] = process.argv;
const baileys = await import(name);
const own = await baileys.useMultiFileAuthState(join(folder, 'theirs'));
const { state, store } = await vault.useMultiFileAuthState(join(folder, 'ours'), { baileys });
const { keys } = state;

const refusal = (work) =>
  (async () => work())().then(
    () => 'taken',
    (error) => (error instanceof vault.ValueError ? error.path : `${error.name}: ${error.message}`),
  );
const present = (found) => Object.keys(found).filter((id) => found[id] !== null && found[id] !== undefined);

// What deletes and what does not, in both stores.
const values = {
  false: false,
  zero: 0,
  minus: -0,
  text: '',
  nan: Number.NaN,
  null: null,
  undefined: undefined,
};
const kept = { true: true, one: 1, space: ' ', object: {}, list: [], bytes: Buffer.from('x') };
const all = { ...values, ...kept };
const survivors = {};
for (const [whose, { keys: target }] of Object.entries({ ours: state, theirs: own.state })) {
  await target.set({ tctoken: Object.fromEntries(Object.keys(all).map((id) => [id, { n: 1 }])) });
  await target.set({ tctoken: all });
  survivors[whose] = present(await target.get('tctoken', Object.keys(all))).sort();
}

const missing = {
  ours: await keys.get('session', ['nobody']),
  theirs: await own.state.keys.get('session', ['nobody']),
};

await keys.set({ 'pre-key': { 7: { n: 7 } } });
const numeric = await keys.get('pre-key', [7, '7', 8]);

const gone = new Uint8Array(32);
structuredClone(gone, { transfer: [gone.buffer] });
const { proxy: revoked, revoke } = Proxy.revocable({}, {});
revoke();
class Patch {
  session = { a: { n: 1 } };
}
const thrower = Object.defineProperty({}, 'a', {
  enumerable: true,
  get() {
    throw new Error('no');
  },
});
const wrong = {
  'a map': () => keys.set(new Map([['session', { a: { n: 1 } }]])),
  'a map of another realm': () => keys.set(runInNewContext('new Map([["session", {}]])')),
  'a map of records': () => keys.set({ session: new Map([['a', { n: 1 }]]) }),
  'a date of records': () => keys.set({ session: new Date() }),
  'an instance': () => keys.set(new Patch()),
  'a list': () => keys.set([{ session: {} }]),
  'a promise': () => keys.set(Promise.resolve({ session: {} })),
  nothing: () => keys.set(undefined),
  symbols: () => keys.set({ session: { [Symbol('a')]: { n: 1 } } }),
  revoked: () => keys.set({ session: revoked }),
  'a getter that throws': () => keys.set({ session: thrower }),
  'a record that is a map': () => keys.set({ session: { a: new Map([['n', 1]]) } }),
  'a record that is a promise': () => keys.set({ session: { ok: { n: 1 }, a: Promise.resolve({ n: 1 }) } }),
  'a function inside': () => keys.set({ session: { ok: { n: 1 }, a: { f: () => {} } } }),
  'bytes that are gone': () => keys.set({ session: { ok: { n: 1 }, a: { key: gone } } }),
  'an id with half a pair': () => keys.set({ session: { ok: { n: 1 }, '\ud800': { n: 1 } } }),
  'a type with half a pair': () => keys.set({ '\udc00': { a: { n: 1 } } }),
  'an empty type': () => keys.set({ '': { a: { n: 1 } } }),
  'a long type': () => keys.set({ [`${'t'.repeat(256)}`]: { a: { n: 1 } } }),
  'a long id': () => keys.set({ session: { ['i'.repeat(65_536)]: { n: 1 } } }),
  'get of no list': () => keys.get('session', 'a'),
  'get of a set': () => keys.get('session', new Set(['a'])),
  'get of undefined': () => keys.get('session', ['a', undefined]),
  'get of half a pair': () => keys.get('session', ['\ud800']),
  'get of no type': () => keys.get(undefined, ['a']),
  'get of an empty type': () => keys.get('', ['a']),
  'listIds of no type': async () => {
    for await (const _ of keys.listIds(undefined));
  },
  'list of half a pair': async () => {
    for await (const _ of keys.list('\ud800'));
  },
  'store.set of a map': () => store.set('default', new Map()),
  'store.set of a map of keys': () => store.set('default', { keys: new Map() }),
  'store.set of a date of records': () => store.set('default', { keys: { session: new Date() } }),
  'store.set of a map of appState': () => store.set('default', { appState: new Map() }),
  'store.set of another field': () => store.set('default', { key: {} }),
  'store.set of a getter that throws': () => store.set('default', { keys: { session: thrower } }),
  'store.get of half a pair': () => store.get('\ud800'),
  'store.delete of half a pair': () => store.delete('\udbff'),
  'store.exists of a number': () => store.exists(7),
  'store.batchGet of no list': () => store.batchGet('default'),
  'store.batchGet of undefined': () => store.batchGet(['default', undefined]),
  'store.batchSet of no list': () => store.batchSet(undefined),
  'store.batchSet of null': () => store.batchSet([null]),
  'store.batchDelete of undefined': () => store.batchDelete([undefined]),
};
const refusals = {};
for (const [what, work] of Object.entries(wrong)) {
  refusals[what] = await refusal(work);
}
const untouched = [present(await keys.get('session', ['ok', 'a'])), (await store.list()).length];

// Ids that look odd and are not.
const odd = ['', '\0', 'a\0b', 'a', '__proto__', 'constructor', '7', '07', ' ', 'é'.repeat(32_767)];
for (const [n, id] of odd.entries()) {
  await keys.set(JSON.parse(`{"session":{${JSON.stringify(id)}:{"n":${n}}}}`));
}
const oddFound = await keys.get('session', [...odd, ...odd]);
const ids = [];
for await (const id of keys.listIds('session')) {
  ids.push(id);
}
const names = ['a\0b', 'a', 'x'.repeat(10_000), '__proto__', '🌋'];
for (const [n, id] of names.entries()) {
  await store.set(id, { appState: { n } });
}
const batch = await store.batchGet(names);

// As a test runner makes them, in a realm of their own.
const foreign = runInNewContext(
  '({ session: { realm: { key: new Uint8Array([1, 2]), list: [1], at: new Date(0), text: new String("x"), n: [NaN, -0] } } })',
);
await keys.set(foreign);

console.log(
  JSON.stringify({
    survivors,
    missing,
    numeric,
    refusals,
    untouched,
    odd: odd.map((id) => oddFound[id]?.n),
    listed: ids.sort().join() === [...odd].sort().join(),
    names: names.map((id) => batch.get(id)?.data.appState.n),
    realm: (await keys.get('session', ['realm'])).realm,
  }),
);
await store.close();
