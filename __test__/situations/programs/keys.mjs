/**
 * A process with two stores over one folder, of which one has another master key or none:
 * `node keys.mjs <folder>`. Says `refused` when nothing was shown to or written by the wrong one.
 */
import assert from 'node:assert/strict';
import { baileys, MASTER_KEY, vault } from '../../crash/light.mjs';

const folder = process.argv[2];
const ID = 'bot';
const SECRET = 'a ratchet that nobody else may see';
const warned = [];
const silent = () => {};
const logger = { debug: silent, info: silent, warn: (...said) => warned.push(said), error: silent };

const open = (sessionId, security) =>
  vault.useHybridAuthState({ baileys, logger, sessionId, embedded: { path: folder }, ...security });
const otherKey = { masterKey: 'deadbeef'.repeat(8) };
const noKey = { security: { enableEncryption: false } };

const owner = await open(ID, { masterKey: MASTER_KEY });
await owner.state.keys.set({ session: { contact: { secret: SECRET } } });

for (const [name, security] of Object.entries({ otherKey, noKey })) {
  const { store } = await open(`beside-${name}`, security);
  const REFUSED = { code: 'CONFIG_INVALID', sessionId: ID };
  const calls = {
    get: () => store.get(ID),
    set: () => store.set(ID, { keys: { session: { planted: { n: 1 } } } }),
    rotateKey: () => store.rotateKey(ID),
    openSession: () => store.openSession(ID),
    delete: () => store.delete(ID),
    batchGet: () => store.batchGet([ID]),
    hook: () => open(ID, security),
  };
  for (const [call, run] of Object.entries(calls)) {
    await assert.rejects(run(), REFUSED, `${call} with ${name}`);
  }
  await store.close();
}
const { data } = await owner.store.get(ID);
assert.deepEqual(Object.keys(data.keys.session), ['contact']);
await owner.store.close();

// Nobody has it open any more, and the key is lost.
const stranger = await open('beside', otherKey);
await assert.rejects(stranger.store.get(ID), { code: 'ENCRYPTION_FAILED' });
await assert.rejects(open(ID, otherKey), { code: 'ENCRYPTION_FAILED' });
await assert.rejects(stranger.store.set(ID, { keys: { session: { planted: { n: 1 } } } }), {
  code: 'ENCRYPTION_FAILED',
});
assert.equal(await stranger.store.exists(ID), true);
await stranger.store.delete(ID);
assert.equal(await stranger.store.exists(ID), false);
assert.match(JSON.stringify(warned), /deleted that could not be read/);
const anew = await open(ID, otherKey);
assert.deepEqual(await anew.state.keys.get('session', ['contact']), {});
await anew.store.close();
await stranger.store.close();
process.stdout.write('refused\n');
