/** backup and restore: beside a bot, sealed, complete or not there; no older state over a newer one unasked. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { makeFolder } from '../situations/support.js';
import { describeWith } from '../support/services.js';
import { EMBEDDED, HYBRID, type Place, SERVERS } from './places.js';
import { cli, holdSession, json, KEY, makeSession, OLD_KEY, refused, writeFolder } from './support.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };

interface Summary {
  version: number;
  records: number;
  types: Record<string, { records: number; sha256: string }>;
}

interface Report {
  restored: number;
  replaced: number;
  equal: number;
  notDone: { sessionId: string; code: string; message: string }[];
}

let folders: string[];
before(async (t) => {
  const parent = await makeFolder(t as TestContext);
  folders = [join(parent, 'one'), join(parent, 'two')];
  for (const folder of folders) {
    await writeFolder(folder, await makeSession());
  }
});

async function fill(t: TestContext, { address }: Place): Promise<string[]> {
  const store = ['--store', address];
  for (const [at, folder] of folders.entries()) {
    await json(t, ['import', folder, ...store, '--as', `bot-${at + 1}`], SEALED);
  }
  return store;
}

/** What is stored of a session. Who holds it is another matter, and how long its lease still runs changes by itself. */
async function show(t: TestContext, name: string, store: readonly string[]): Promise<Summary> {
  const { holder: _, ...stored } = await json<Summary & { holder: unknown }>(
    t,
    ['show', name, ...store],
    SEALED,
  );
  return stored;
}

/** A bot that opens the session, writes once and ends. */
async function run(t: TestContext, place: Place, sessionId: string): Promise<void> {
  const bot = await holdSession(t, place.bot(sessionId, { masterKey: KEY }));
  bot.child.stdin.end('write\n');
  assert.equal((await bot.ended).stdout, 'open\nwritten\n');
}

for (const { name, needs, make } of [EMBEDDED, HYBRID]) {
  describeWith(needs, `on ${name}`, () => {
    it('what is gone is restored as it was', async (t) => {
      const place = await make(t);
      const store = await fill(t, place);
      const to = join(await makeFolder(t), 'backup');
      const made = await json<{ sessions: Summary[] }>(t, ['backup', ...store, '--to', to], SEALED);
      assert.deepEqual(
        made.sessions.map(({ version }) => version),
        [1, 1],
      );
      const before = await show(t, 'bot-1', store);
      await json(t, ['delete', 'bot-1', ...store, '--yes'], SEALED);
      const dry = await json<Report>(t, ['restore', to, ...store, '--dry-run'], SEALED);
      assert.deepEqual([dry.restored, dry.equal], [1, 1]);
      assert.equal((await json<{ sessions: unknown[] }>(t, ['list', ...store], SEALED)).sessions.length, 1);
      const report = await json<Report>(t, ['restore', to, ...store], SEALED);
      assert.deepEqual([report.restored, report.replaced, report.equal, report.notDone], [1, 0, 1, []]);
      assert.deepEqual((await show(t, 'bot-1', store)).types, before.types);
      await run(t, place, 'bot-1');
    });

    it('what is newer is replaced with --force alone', async (t) => {
      const place = await make(t);
      const store = await fill(t, place);
      const to = join(await makeFolder(t), 'backup');
      await json(t, ['backup', 'bot-1', ...store, '--to', to], SEALED);
      const before = await show(t, 'bot-1', store);
      await run(t, place, 'bot-1');
      const newer = await show(t, 'bot-1', store);
      for (const more of [[], ['--creds-only'], ['--dry-run']]) {
        const { code, stdout } = await cli(t, ['restore', to, ...store, ...more], SEALED);
        assert.equal(code, 7, stdout);
        assert.match(stdout, /what is stored of "bot-1" is newer, last written .* \(REFUSED\)/);
      }
      assert.deepEqual(await show(t, 'bot-1', store), newer);
      const report = await json<Report>(t, ['restore', to, ...store, '--force'], SEALED);
      assert.deepEqual([report.restored, report.replaced], [0, 1]);
      const after = await show(t, 'bot-1', store);
      assert.deepEqual(after.types, before.types);
      assert.ok(after.version > newer.version);
      await run(t, place, 'bot-1');
    });
  });
}

for (const { name, needs, make } of SERVERS) {
  describeWith(needs, `beside a bot on ${name}`, () => {
    it('a backup disturbs nobody, and a restore leaves what is held', async (t) => {
      const place = await make(t);
      const store = await fill(t, place);
      const to = join(await makeFolder(t), 'backup');
      const bot = await holdSession(t, place.bot('bot-1', { masterKey: KEY }));
      await json(t, ['backup', ...store, '--to', to], SEALED);
      bot.child.stdin.write('write\n');
      await bot.says('written');
      const words = ['restore', to, ...store, '--force', '--timeout', '1', '--json'];
      for (const dryRun of [['--dry-run'], []]) {
        const { code, stdout } = await cli(t, [...words, ...dryRun], SEALED);
        assert.equal(code, 8, stdout);
        assert.deepEqual(
          (JSON.parse(stdout) as Report).notDone.map(({ sessionId, code }) => [sessionId, code]),
          [['bot-1', 'SESSION_BUSY']],
        );
      }
      bot.child.stdin.end('write\n');
      assert.equal((await bot.ended).stdout, 'open\nwritten\nwritten\n');
    });
  });
}

describe('a backup', () => {
  async function made(t: TestContext): Promise<{ place: Place; store: string[]; to: string }> {
    const place = await EMBEDDED.make(t);
    const store = await fill(t, place);
    const to = join(await makeFolder(t), 'backup');
    await json(t, ['backup', ...store, '--to', to], SEALED);
    return { place, store, to };
  }

  it('is a store of its own, sealed, with a manifest that holds no secret', async (t) => {
    const { store, to } = await made(t);
    assert.deepEqual((await show(t, 'bot-2', ['--store', to])).types, (await show(t, 'bot-2', store)).types);
    await refused(t, 6, 'ENCRYPTION_FAILED', ['show', 'bot-2', '--store', to]);
    const file = join(to, 'manifest.json');
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as {
      sealed: boolean;
      sessions: { lastWrite: string }[];
    };
    assert.equal(manifest.sealed, true);
    assert.ok(Date.parse(manifest.sessions[0]?.lastWrite as string) > 0);
    assert.doesNotMatch(readFileSync(file, 'utf8'), /15550001111/);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal(statSync(to).mode & 0o777, 0o700);
  });

  it('is sealed unless it is told not to be, and never over another', async (t) => {
    const { store, to } = await made(t);
    await refused(t, 7, 'REFUSED', ['backup', ...store, '--to', to], SEALED);
    await refused(t, 2, 'USAGE', ['backup', ...store, '--to', `${to}-2`]);
    await refused(t, 2, 'USAGE', ['backup', ...store], SEALED);
    assert.ok(!existsSync(`${to}-2`));
    const { code, stdout } = await cli(t, ['backup', ...store, '--to', `${to}-3`, '--json'], {
      env: { BAILEYS_VAULT_MASTER_KEY: OLD_KEY },
    });
    assert.equal(code, 8);
    assert.equal((JSON.parse(stdout) as Report).notDone.length, 2);
    assert.deepEqual(readdirSync(join(to, '..')), ['backup']);
  });

  it('that was changed, or has no manifest, restores nothing', async (t) => {
    const { to } = await made(t);
    const store = ['--store', join(await makeFolder(t), 'vault')];
    const file = join(to, 'manifest.json');
    const text = readFileSync(file, 'utf8');
    const [, digest = ''] = /"creds": "([0-9a-f]{64})"/.exec(text) ?? [];
    writeFileSync(file, text.replace(digest, 'ab'.repeat(32)));
    const { code, stdout } = await cli(t, ['restore', to, 'bot-1', ...store], SEALED);
    assert.equal(code, 6, stdout);
    assert.match(stdout, /not what its manifest says: creds/);
    writeFileSync(file, text.slice(0, 100));
    await refused(t, 6, 'CORRUPT_RECORD', ['restore', to, ...store], SEALED);
    rmSync(file);
    await refused(t, 2, 'CONFIG_INVALID', ['restore', to, ...store], SEALED);
  });

  it('gives the creds alone, so that chats are negotiated anew', async (t) => {
    const { place, store, to } = await made(t);
    await run(t, place, 'bot-1');
    const before = await show(t, 'bot-1', ['--store', to]);
    const words = ['restore', to, 'bot-1', '--creds-only'];
    await json(t, [...words, ...store, '--force'], SEALED);
    const other = ['--store', join(await makeFolder(t), 'vault')];
    await json(t, [...words, ...other, '--as', 'moved'], SEALED);
    for (const after of [await show(t, 'bot-1', store), await show(t, 'moved', other)]) {
      for (const [type, { sha256 }] of Object.entries(before.types)) {
        const gone = ['session', 'sender-key', 'sender-key-memory'].includes(type);
        assert.equal(after.types[type]?.sha256, gone ? undefined : sha256, type);
      }
    }
    await run(t, place, 'bot-1');
  });

  it('of another identity replaces nothing unasked', async (t) => {
    const { store, to } = await made(t);
    await json(t, ['delete', 'bot-1', ...store, '--yes'], SEALED);
    await json(t, ['import', folders[1] as string, ...store, '--as', 'bot-1'], SEALED);
    const { code, stdout } = await cli(t, ['restore', to, 'bot-1', ...store], SEALED);
    assert.equal(code, 7);
    assert.match(stdout, /another identity/);
  });

  it('names what it holds, and is restored into stores alone', async (t) => {
    const { store, to } = await made(t);
    const { hint } = await refused(t, 3, 'SESSION_NOT_FOUND', ['restore', to, 'bot-9', ...store], SEALED);
    assert.match(hint ?? '', /Did you mean "bot-1"/);
    await refused(t, 2, 'USAGE', ['restore', to, '--store', 'multi-file:./x'], SEALED);
    await refused(t, 2, 'USAGE', ['restore', to, ...store, '--as', 'x'], SEALED);
    await refused(t, 2, 'USAGE', ['restore', to, '--store', join(to, '..', 'new')]);
  });
});
