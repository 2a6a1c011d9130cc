/** What a program may hand to `saveCreds` by mistake, and credentials that are damaged where they are stored. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeRecords, Scratch } from '../../lib/codec/index.js';
import { CorruptRecordError, useMultiFileAuthState } from '../../lib/index.js';
import { makeFolder, runProgram } from './support.js';

/** Where each mistake is found. */
const PATHS: Record<string, string> = {
  undefined: 'creds',
  null: 'creds',
  'an empty object': 'creds.noiseKey',
  'a string': 'creds',
  'a promise': 'creds',
  'a map': 'creds',
  'a list': 'creds',
  bytes: 'creds',
  'a date': 'creds',
  'only me': 'creds.noiseKey',
  'no noiseKey': 'creds.noiseKey',
  'half a noiseKey': 'creds.noiseKey.private',
  'no signature': 'creds.signedPreKey.signature',
  'no registrationId': 'creds.registrationId',
  'a key of text': 'creds.noiseKey.private',
  'a short key': 'creds.signedIdentityKey.private',
  'a function in me': 'creds.me.log',
  'keys that are transferred': 'creds.noiseKey.private',
};

for (const release of ['baileys-6', 'baileys-rc4', 'baileys-rc9', 'baileys']) {
  test(`saving what are no credentials of ${release} says where, and leaves the identity alone`, async (t) => {
    const folder = join(await makeFolder(t), 'auth');
    const { code, stdout, stderr } = await runProgram(t, 'bad-creds.mjs', folder, release);
    assert.equal(code, 0, stderr);
    const { outcomes, around, version, secret, stored } = JSON.parse(stdout);
    assert.deepEqual(
      outcomes,
      Object.fromEntries(
        Object.entries(PATHS).map(([what, path]) => {
          const refused = `ValueError INVALID_VALUE ${path}`;
          return [what, [refused, refused, 'INVALID_VALUE']];
        }),
      ),
    );
    assert.deepEqual(Object.values(around), [
      'ValueError INVALID_VALUE creds',
      'ValueError INVALID_VALUE creds',
      'ValueError INVALID_VALUE creds',
      'ValueError INVALID_VALUE patch.keys.creds',
    ]);
    assert.equal(version, 1, 'nothing but the first saveCreds was written');
    assert.equal(stored, secret);
    const again = await useMultiFileAuthState(folder);
    t.after(() => again.store.close());
    assert.equal(again.state.creds.advSecretKey, secret);
  });
}

test('stored credentials that no socket can go on with are an error at open, never a new identity', async (t) => {
  const folder = join(await makeFolder(t), 'auth');
  const first = await useMultiFileAuthState(folder);
  const { creds } = first.state;
  const session = await first.store.openSession('default');
  for (const [value, path] of [
    [{}, 'creds.noiseKey'],
    ['text', 'creds'],
    [[], 'creds'],
    [{ ...creds, noiseKey: { public: creds.noiseKey.public } }, 'creds.noiseKey.private'],
    [{ ...creds, registrationId: -1 }, 'creds.registrationId'],
  ] as const) {
    // Below the guard, as a release without it wrote them.
    const scratch = new Scratch();
    const length = encodeRecords(scratch, [{ type: 'creds', id: '', value }]);
    assert.ok(length > 0);
    assert.equal((await session.putRecords([{ type: 'creds', id: '', value }])).ok, true);
    for (let round = 0; round < 2; round++) {
      await assert.rejects(useMultiFileAuthState(folder), (error) => {
        assert.ok(error instanceof CorruptRecordError);
        assert.equal(error.code, 'CORRUPT_RECORD');
        assert.equal(error.sessionId, 'default');
        assert.equal(error.details.path, path);
        return true;
      });
    }
  }
  await first.saveCreds();
  await first.store.close();
  const mended = await useMultiFileAuthState(folder);
  t.after(() => mended.store.close());
  assert.equal(mended.state.creds.advSecretKey, creds.advSecretKey);
});
