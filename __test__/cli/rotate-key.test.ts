/** rotate-key: seals anew what older keys sealed, goes on after an interruption, and leaves held sessions to their bots. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { makeFolder } from '../situations/support.js';
import { describeWith } from '../support/services.js';
import { EMBEDDED, HYBRID } from './places.js';
import { cli, holdSession, json, KEY, makeSession, OLD_KEY, refused, writeFolder } from './support.js';

const OLD = { env: { BAILEYS_VAULT_MASTER_KEY: OLD_KEY } };
const NEW = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
const BOTH = { env: { ...NEW.env, BAILEYS_VAULT_PREVIOUS_MASTER_KEYS: `${'ab'.repeat(32)},${OLD_KEY}` } };

let folder: string;
before(async (t) => {
  folder = join(await makeFolder(t as TestContext), 'auth_info_baileys');
  await writeFolder(folder, await makeSession());
});

/** What is sealed anew is up to the core, whose own tests are on every storage; here one of each kind will do. */
for (const { name, needs, make } of [EMBEDDED, HYBRID]) {
  describeWith(needs, `rotate-key on ${name}`, () => {
    it('seals every record with the new key, once', async (t) => {
      const { address } = await make(t);
      const store = ['--store', address];
      for (const session of ['bot-1', 'bot-2']) {
        await json(t, ['import', folder, ...store, '--as', session], OLD);
      }
      const first = await json(t, ['rotate-key', ...store, 'bot-1'], BOTH);
      assert.ok((first.resealed as number) > 20);
      assert.equal(first.resealed, first.records);
      // Nothing is unreadable on the way: both keys read both halves.
      assert.equal((await json(t, ['verify', ...store], BOTH)).sound, true);
      assert.equal((await cli(t, ['verify', ...store], NEW)).code, 6);
      const second = await json(t, ['rotate-key', ...store], BOTH);
      assert.deepEqual([second.sessions, second.resealed], [2, first.resealed]);
      assert.equal((await json(t, ['verify', ...store], NEW)).sound, true);
      assert.equal((await json(t, ['rotate-key', ...store], BOTH)).resealed, 0);
    });
  });
}

for (const { name, needs, make } of [HYBRID]) {
  describeWith(needs, `rotate-key beside a bot on ${name}`, () => {
    it('leaves its session to the bot, and names it', async (t) => {
      const place = await make(t);
      const store = ['--store', place.address];
      for (const session of ['bot-1', 'bot-2']) {
        await json(t, ['import', folder, ...store, '--as', session], OLD);
      }
      const bot = await holdSession(t, place.bot('bot-1', { masterKey: OLD_KEY }));
      const { code, stdout } = await cli(t, ['rotate-key', ...store, '--timeout', '1', '--json'], BOTH);
      assert.equal(code, 8);
      const { notDone: failed } = JSON.parse(stdout) as { notDone: { sessionId: string; code: string }[] };
      assert.deepEqual(
        failed.map(({ sessionId, code }) => [sessionId, code]),
        [['bot-1', 'SESSION_BUSY']],
      );
      bot.child.stdin.end('write\n');
      assert.equal((await bot.ended).stdout, 'open\nwritten\n');
      assert.equal((await json(t, ['rotate-key', ...store], BOTH)).sessions, 2);
      assert.equal((await json(t, ['verify', ...store], NEW)).sound, true);
    });
  });
}

describe('rotate-key', () => {
  it('takes keys from files, and needs both', async (t) => {
    const { address } = await EMBEDDED.make(t);
    const store = ['--store', address];
    await json(t, ['import', folder, ...store], OLD);
    await refused(t, 2, 'USAGE', ['rotate-key', ...store]);
    await refused(t, 2, 'USAGE', ['rotate-key', ...store], NEW);
    await refused(t, 2, 'USAGE', ['rotate-key', '--store', `multi-file:${folder}`], BOTH);
    const keys = await makeFolder(t);
    writeFileSync(join(keys, 'new'), Buffer.from(KEY, 'hex'));
    writeFileSync(join(keys, 'old'), `${'ab'.repeat(32)}\n${OLD_KEY}\n`);
    const files = ['--master-key-file', join(keys, 'new'), '--previous-keys-file', join(keys, 'old')];
    const missing = await cli(t, ['rotate-key', ...store, ...files, 'none']);
    assert.equal(missing.code, 3, missing.stdout);
    await json(t, ['rotate-key', ...store, ...files]);
    assert.equal((await json(t, ['verify', ...store], NEW)).sound, true);
  });

  it('changes nothing where no key opens a session', async (t) => {
    const { address } = await EMBEDDED.make(t);
    await json(t, ['import', folder, '--store', address], OLD);
    const { code, stdout } = await cli(t, ['rotate-key', '--store', address], {
      env: { ...NEW.env, BAILEYS_VAULT_PREVIOUS_MASTER_KEYS: 'ab'.repeat(32) },
    });
    assert.equal(code, 6);
    assert.match(stdout, /not sealed anew: "default": .*ENCRYPTION_FAILED/);
    assert.equal((await json(t, ['verify', '--store', address], OLD)).sound, true);
  });
});
