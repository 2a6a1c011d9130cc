/** Values, ids and patches that a program hands over by mistake, and odd ones that are none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, useHybridAuthState } from '../../lib/index.js';
import { makeFolder, runProgram } from './support.js';

const REFUSALS: Record<string, string> = {
  'a map': 'keys.set',
  'a map of another realm': 'keys.set',
  'a map of records': 'session',
  'a date of records': 'session',
  'an instance': 'keys.set',
  'a list': 'keys.set',
  'a promise': 'keys.set',
  nothing: 'keys.set',
  symbols: 'session',
  revoked: 'session',
  'a getter that throws': 'session.a',
  'a record that is a map': 'session.a',
  'a record that is a promise': 'session.a',
  'a function inside': 'session.a.f',
  'bytes that are gone': 'session.a.key',
  'an id with half a pair': 'session["\\ud800"]',
  'a type with half a pair': '["\\udc00"].a',
  'an empty type': '[""].a',
  'a long type': `["${'t'.repeat(80)}…"].a`,
  'a long id': `session["${'i'.repeat(80)}…"]`,
  'get of no list': 'ids',
  'get of a set': 'ids',
  'get of undefined': 'ids[1]',
  'get of half a pair': 'ids[0]',
  'get of no type': 'type',
  'get of an empty type': 'type',
  'listIds of no type': 'type',
  'list of half a pair': 'type',
  'store.set of a map': 'patch',
  'store.set of a map of keys': 'patch.keys',
  'store.set of a date of records': 'patch.keys.session',
  'store.set of a map of appState': 'patch.appState',
  'store.set of another field': 'patch.key',
  'store.set of a getter that throws': 'patch',
  'store.get of half a pair': 'sessionId',
  'store.delete of half a pair': 'sessionId',
  'store.exists of a number': 'sessionId',
  'store.batchGet of no list': 'sessionIds',
  'store.batchGet of undefined': 'sessionIds[1]',
  'store.batchSet of no list': 'updates',
  'store.batchSet of null': 'updates[0].sessionId',
  'store.batchDelete of undefined': 'sessionIds[0]',
};

for (const release of ['baileys-6', 'baileys-rc4', 'baileys-rc9', 'baileys']) {
  test(`with ${release}`, async (t) => {
    const { code, stdout, stderr } = await runProgram(t, 'values.mjs', await makeFolder(t), release);
    assert.equal(code, 0, stderr);
    const found = JSON.parse(stdout);
    assert.deepEqual(found.survivors.ours, found.survivors.theirs, 'deletes what Baileys deletes');
    assert.deepEqual(found.survivors.ours, ['bytes', 'list', 'object', 'one', 'space', 'true']);
    assert.deepEqual(found.missing, { ours: {}, theirs: { nobody: null } });
    assert.deepEqual(found.numeric, { 7: { n: 7 } });
    assert.deepEqual(found.refusals, REFUSALS);
    assert.deepEqual(found.untouched, [[], 1], 'a patch that is refused writes nothing');
    assert.deepEqual(found.odd, [...found.odd.keys()], 'odd ids are kept apart');
    assert.equal(found.listed, true);
    assert.deepEqual(found.names, [...found.names.keys()], 'odd names of sessions are kept apart');
    assert.deepEqual(found.realm, {
      key: { type: 'Buffer', data: [1, 2] },
      list: [1],
      at: '1970-01-01T00:00:00.000Z',
      text: 'x',
      n: [null, 0],
    });
  });
}

test('names of sessions that UTF-8 cannot hold are refused, so that two are never one', async (t) => {
  const path = await makeFolder(t);
  for (const sessionId of ['\ud800', 'bot\udc00', '\udc00\ud800']) {
    await assert.rejects(useHybridAuthState({ sessionId, embedded: { path } }), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.equal(error.field, 'sessionId');
      return true;
    });
  }
});
