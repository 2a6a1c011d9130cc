/**
 * Tries to save what are no credentials, then the real ones: `node bad-creds.mjs <folder> <baileys>`. Prints as JSON what
 * each attempt came to, and the identity before and after. Exits without closing.
 */
import { createRequire } from 'node:module';

const vault = createRequire(import.meta.url)('../../../dist/index.js');
const [, , folder, name] = process.argv;
const baileys = await import(name);
const { state, saveCreds, store } = await vault.useMultiFileAuthState(folder, { baileys });
await saveCreds();
const good = state.creds;

const without = (...path) => {
  const copy = structuredClone(
    JSON.parse(JSON.stringify(good, baileys.BufferJSON.replacer), baileys.BufferJSON.reviver),
  );
  let holder = copy;
  for (const key of path.slice(0, -1)) {
    holder = holder[key];
  }
  delete holder[path.at(-1)];
  return copy;
};
const bad = {
  undefined: undefined,
  null: null,
  'an empty object': {},
  'a string': 'creds',
  'a promise': Promise.resolve(good),
  'a map': new Map(Object.entries(good)),
  'a list': [good],
  bytes: Buffer.from('{}'),
  'a date': new Date(),
  'only me': { me: { id: '1@s.whatsapp.net' } },
  'no noiseKey': without('noiseKey'),
  'half a noiseKey': without('noiseKey', 'private'),
  'no signature': without('signedPreKey', 'signature'),
  'no registrationId': without('registrationId'),
  'a key of text': { ...good, noiseKey: { ...good.noiseKey, private: 'x'.repeat(32) } },
  'a short key': { ...good, signedIdentityKey: { ...good.signedIdentityKey, private: Buffer.alloc(16) } },
  'a function in me': { ...good, me: { id: '1@s.whatsapp.net', log: () => {} } },
  'keys that are transferred': (() => {
    const key = new Uint8Array(32);
    structuredClone(key, { transfer: [key.buffer] });
    return { ...good, noiseKey: { ...good.noiseKey, private: key } };
  })(),
};

const attempt = (work) =>
  work().then(
    () => 'stored',
    (error) => `${error.constructor.name} ${error.code} ${error.path}`,
  );
const outcomes = {};
for (const [what, value] of Object.entries(bad)) {
  state.creds = value;
  outcomes[what] = [
    await attempt(saveCreds),
    await attempt(() => store.set('default', { creds: value })),
    (await store.batchSet([{ sessionId: 'default', patch: { creds: value } }])).failed.get('default')?.code,
  ];
}
const around = {
  "keys.set({ creds: { '': … } })": await attempt(() => state.keys.set({ creds: { '': {} } })),
  'keys.set({ creds })': await attempt(() => state.keys.set({ creds: { creds: good } })),
  'keys.set({ creds: null })': await attempt(() => state.keys.set({ creds: { '': null } })),
  'patch.keys.creds': await attempt(() => store.set('default', { keys: { creds: { '': null } } })),
};
const { version } = await store.get();
state.creds = good;
await saveCreds();
console.log(
  JSON.stringify({
    outcomes,
    around,
    version,
    secret: good.advSecretKey,
    stored: (await store.get()).data.creds.advSecretKey,
  }),
);
process.exit(0);
