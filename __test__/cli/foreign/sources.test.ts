/** Stores of other libraries: each is looked at, and copied by value into a store of ours, which a bot then opens. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { useHybridAuthState } from '../../../dist/index.js';
import { makeFolder } from '../../situations/support.js';
import { describeWith } from '../../support/services.js';
import { cli, json, KEY, type MadeSession, makeSession, refused, writeFolder } from '../support.js';
import { SOURCES } from './kinds.js';
import { plain } from './plain.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };

interface Report {
  copied: number;
  equal: number;
  types: Record<string, { records: number; sha256: string }>;
}

/** A session, and what is copied of it out of a folder of Baileys' own function. */
async function makeReference(t: TestContext): Promise<{ session: MadeSession; types: Report['types'] }> {
  const session = await makeSession(3);
  const folder = await makeFolder(t);
  await writeFolder(folder, session);
  const { types } = await json<Report>(
    t,
    ['import', folder, '--store', join(folder, 'vault'), '--dry-run'],
    SEALED,
  );
  return { session, types };
}

/** What a bot finds that opens a session of an embedded store. */
async function opened(
  t: TestContext,
  path: string,
  sessionId: string,
  like: MadeSession,
): Promise<MadeSession> {
  const { state, store } = await useHybridAuthState({ sessionId, embedded: { path }, masterKey: KEY });
  t.after(() => store.close());
  const keys: MadeSession['keys'] = {};
  for (const [type, records] of Object.entries(like.keys)) {
    keys[type] = (await state.keys.get(type as 'session', Object.keys(records))) as Record<string, unknown>;
  }
  return { creds: state.creds as unknown as Record<string, unknown>, keys };
}

for (const { name, needs, make } of SOURCES) {
  describeWith([...needs], `a store of ${name}`, () => {
    it('is copied by value, and a bot goes on with it', async (t) => {
      const { session, types } = await makeReference(t);
      const { address, write } = await make(t);
      await write('bot-1', session);
      const vault = join(await makeFolder(t), 'vault');
      const looked = await json<Report>(t, ['import', address, '--store', vault, '--dry-run'], SEALED);
      assert.deepEqual([looked.copied, looked.types], [1, types]);
      const done = await json<Report>(t, ['copy', '--from', address, '--to', vault], SEALED);
      assert.deepEqual([done.copied, done.types], [1, types]);
      const again = await json<Report>(t, ['import', address, '--store', vault], SEALED);
      assert.deepEqual([again.copied, again.equal], [0, 1]);
      assert.deepEqual(plain(await opened(t, vault, 'bot-1', session)), plain(session));
    });

    it('is looked at by every command that only reads', async (t) => {
      const session = await makeSession(10);
      const { address, write } = await make(t);
      await write('bot-1', session);
      await write('bot-2', { ...(await makeSession(10)) });
      const listed = await json<{ sessions: unknown[] }>(t, ['list', '--store', address]);
      assert.deepEqual(listed.sessions, [{ sessionId: 'bot-1' }, { sessionId: 'bot-2' }]);
      const shown = await json<{ account: { id: string } }>(t, ['show', 'bot-1', '--store', address]);
      assert.equal(shown.account.id, (session.creds.me as { id: string }).id);
      const verified = await json<{ sound: boolean; sessions: number }>(t, ['verify', '--store', address]);
      assert.deepEqual([verified.sound, verified.sessions], [true, 2]);
      const { code, stdout } = await cli(t, ['doctor', 'bot-1', '--store', address]);
      assert.equal(code, 0, stdout);
    });

    it('is written by none', async (t) => {
      const { address, write } = await make(t);
      await write('bot-1', await makeSession());
      const folder = await makeFolder(t);
      await writeFolder(folder, await makeSession());
      const from = `multi-file:${folder}`;
      await refused(t, 2, 'SOURCE_ONLY', ['copy', '--from', from, '--to', address]);
      await refused(t, 2, 'SOURCE_ONLY', ['copy', '--from', from, '--to', address, '--dry-run']);
      await refused(t, 2, 'SOURCE_ONLY', ['import', folder, '--store', address]);
      for (const words of [['delete', 'bot-1', '--yes'], ['rotate-key']]) {
        await refused(t, 2, 'USAGE', [...words, '--store', address], SEALED);
      }
    });

    it('holds no session where there is none', async (t) => {
      const { address } = await make(t);
      assert.deepEqual((await json<{ sessions: unknown[] }>(t, ['list', '--store', address])).sessions, []);
      const vault = join(await makeFolder(t), 'vault');
      const { hint } = await refused(
        t,
        3,
        'SESSION_NOT_FOUND',
        ['import', address, '--store', vault],
        SEALED,
      );
      assert.match(hint ?? '', /^A session there is a (key|file) /);
      await refused(t, 3, 'SESSION_NOT_FOUND', ['show', 'bot-1', '--store', address]);
    });
  });
}
