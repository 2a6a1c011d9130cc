/** list, show, verify and delete, on every kind of store, with and without a bot that has the session. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { makeFolder } from '../situations/support.js';
import { describeWith } from '../support/services.js';
import { EMBEDDED, HYBRID, PLACES, type Place, SERVERS } from './places.js';
import {
  cli,
  holdSession,
  json,
  KEY,
  MAIN,
  type MadeSession,
  makeSession,
  OLD_KEY,
  refused,
  writeFolder,
} from './support.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
const WRONG_KEY = { env: { BAILEYS_VAULT_MASTER_KEY: OLD_KEY } };

interface Summary {
  sessionId: string;
  version: number;
  lastWrite: string;
  account: { id: string; name: string; paired: boolean };
  preKeys: { stored: number; uploaded: number; next: number };
  records: number;
  types: Record<string, { records: number; bytes: number; sha256: string }>;
  holder?: { host: string; pid: number; since: string; leaseEnds: string; state: string } | null;
  creds?: unknown;
}

let made: MadeSession;
let folder: string;
before(async (t) => {
  made = await makeSession(5);
  folder = join(await makeFolder(t as TestContext), 'auth_info_baileys');
  await writeFolder(folder, made);
});

/** Puts the session into a store under some names. */
async function fill(t: TestContext, { address }: Place, ...names: string[]): Promise<void> {
  for (const name of names) {
    await json(t, ['import', folder, '--store', address, '--as', name], SEALED);
  }
}

const secretsOf = ({ creds }: MadeSession): string[] => {
  const { noiseKey, signedIdentityKey, advSecretKey } = creds as {
    noiseKey: { private: Uint8Array };
    signedIdentityKey: { private: Uint8Array };
    advSecretKey: string;
  };
  const keys = [noiseKey.private, signedIdentityKey.private].map((key) => Buffer.from(key));
  return [advSecretKey, ...keys.flatMap((key) => [key.toString('base64'), key.toString('hex')])];
};

for (const { name, needs, make } of PLACES) {
  describeWith(needs, `on ${name}`, () => {
    it('list, show, verify and delete', async (t) => {
      const place = await make(t);
      const store = ['--store', place.address];
      await fill(t, place, 'bot-1', 'tenant:bot/2');
      const long = await json<{ sessions: Summary[] }>(t, ['list', '--long', ...store], SEALED);
      assert.deepEqual(
        long.sessions.map(({ sessionId, account, version }) => [sessionId, account.id, version]),
        ['bot-1', 'tenant:bot/2'].map((id) => [id, '15550001111:7@s.whatsapp.net', 1]),
      );

      const shown = await cli(t, ['show', 'bot-1', ...store, '--json'], SEALED);
      for (const secret of secretsOf(made)) {
        assert.ok(!shown.stdout.includes(secret) && !shown.stderr.includes(secret));
      }
      const { creds, ...summary } = JSON.parse(shown.stdout) as Summary;
      assert.equal(creds, undefined);
      assert.equal(summary.holder, null);
      assert.deepEqual(summary.account.paired, true);
      assert.ok(Math.abs(Date.parse(summary.lastWrite) - Date.now()) < 120_000);
      for (const [type, group] of Object.entries(made.keys)) {
        assert.equal(summary.types[type]?.records, Object.keys(group).length, type);
      }
      const ids = Object.keys(made.keys['pre-key'] as object).map(Number);
      const { nextPreKeyId, firstUnuploadedPreKeyId } = made.creds as Record<string, number>;
      assert.deepEqual(summary.preKeys, {
        stored: ids.length,
        uploaded: ids.filter((id) => id < (firstUnuploadedPreKeyId as number)).length,
        next: nextPreKeyId,
        firstNotUploaded: firstUnuploadedPreKeyId,
      });
      // The same values have the same digests, wherever they are.
      const own = await json<Summary>(t, ['show', '--store', `multi-file:${folder}`]);
      // Baileys' own function locks nothing: nobody can say.
      assert.ok(!('holder' in own));
      assert.deepEqual(summary.types, own.types);

      const verified = await json(t, ['verify', ...store], SEALED);
      assert.deepEqual([verified.sound, verified.sessions, verified.records], [true, 2, 2 * summary.records]);

      const deleted = await json(t, ['delete', 'bot-1', ...store, '--yes'], SEALED);
      assert.equal(deleted.deleted, true);
      const left = await json<{ sessions: unknown }>(t, ['list', ...store], SEALED);
      assert.deepEqual(left.sessions, [{ sessionId: 'tenant:bot/2' }]);
      // Now that there is one, it need not be named.
      assert.equal((await json<Summary>(t, ['show', ...store], SEALED)).sessionId, 'tenant:bot/2');
    });
  });
}

for (const { name, needs, make } of [EMBEDDED, HYBRID]) {
  describeWith(needs, `with a wrong key, on ${name}`, () => {
    it('each session is named, nothing is changed, and nobody is kept from deleting', async (t) => {
      const place = await make(t);
      const store = ['--store', place.address];
      await fill(t, place, 'bot-1', 'bot-2');
      const { hint } = await refused(t, 6, 'ENCRYPTION_FAILED', ['show', 'bot-1', ...store], WRONG_KEY);
      assert.match(hint ?? '', /BAILEYS_VAULT_MASTER_KEY/);
      const { code, stdout } = await cli(t, ['verify', ...store, '--json'], WRONG_KEY);
      assert.equal(code, 6);
      assert.deepEqual(
        (JSON.parse(stdout).findings as { sessionId: string; code: string }[]).map(({ sessionId, code }) => [
          sessionId,
          code,
        ]),
        [
          ['bot-1', 'ENCRYPTION_FAILED'],
          ['bot-2', 'ENCRYPTION_FAILED'],
        ],
      );
      await json(t, ['delete', 'bot-1', ...store, '--yes'], WRONG_KEY);
      assert.equal((await json(t, ['verify', ...store], SEALED)).sessions, 1);
    });
  });
}

for (const { name, needs, make } of SERVERS) {
  describeWith(needs, `beside a bot on ${name}`, () => {
    it('reading disturbs nobody, and what is held is not deleted', async (t) => {
      const place = await make(t);
      const store = ['--store', place.address];
      const bot = await holdSession(t, place.bot('bot-1', { masterKey: KEY }));
      bot.child.stdin.write('write\n');
      await bot.says('written');
      for (const words of [['list'], ['verify']]) {
        await json(t, [...words, ...store], SEALED);
      }
      const shown = await json<Summary>(t, ['show', 'bot-1', ...store], SEALED);
      const { sessions } = await json<{ sessions: Summary[] }>(t, ['list', '--long', ...store], SEALED);
      for (const holder of [shown.holder, sessions[0]?.holder]) {
        assert.deepEqual(
          { ...holder, since: undefined, leaseEnds: undefined },
          { host: hostname(), pid: bot.child.pid, since: undefined, leaseEnds: undefined, state: 'holds' },
        );
        const [since, ends] = [holder?.since, holder?.leaseEnds].map((time) => Date.parse(time as string));
        assert.ok(Math.abs((since as number) - Date.now()) < 60_000, holder?.since);
        assert.ok((ends as number) > Date.now() - 5_000, holder?.leaseEnds);
      }
      const text = await cli(t, ['show', 'bot-1', ...store], SEALED);
      assert.match(text.stdout, new RegExp(`^held by +process ${bot.child.pid} on `, 'm'));
      await refused(t, 4, 'SESSION_BUSY', ['delete', 'bot-1', ...store, '--yes', '--timeout', '1'], SEALED);
      bot.child.stdin.end('write\n');
      const { stdout, stderr } = await bot.ended;
      assert.equal(stdout, 'open\nwritten\nwritten\n', stderr);
      const { types, holder } = await json<Summary>(t, ['show', 'bot-1', ...store], SEALED);
      assert.equal(types.session?.records, 2);
      // The process ended without closing its store.
      assert.notEqual(holder?.state, 'holds');
    });
  });
}

describe('delete', () => {
  it('asks, unless it is told not to, and knows what there is', async (t) => {
    const place = await EMBEDDED.make(t);
    const store = ['--store', place.address];
    await fill(t, place, 'bot-1');
    await refused(t, 2, 'USAGE', ['delete', 'bot-1', ...store], SEALED);
    await refused(t, 3, 'SESSION_NOT_FOUND', ['delete', 'bot-3', ...store, '--yes'], SEALED);
    assert.equal((await json<{ sessions: unknown[] }>(t, ['list', ...store], SEALED)).sessions.length, 1);
  });
});

describe('a folder of Baileys Vault', () => {
  it('that a bot has open is not opened, and its holder is named', async (t) => {
    const place = await EMBEDDED.make(t);
    const bot = await holdSession(t, place.bot('bot-1', { masterKey: KEY }));
    const error = await refused(t, 4, 'SESSION_BUSY', ['list', '--store', place.address, '--timeout', '1']);
    assert.ok(error.message.includes(`process ${bot.child.pid}`), error.message);
  });

  it('is never made by looking for it', async (t) => {
    const parent = await makeFolder(t);
    for (const words of [['list'], ['show'], ['verify'], ['delete', 'x', '--yes']]) {
      await refused(t, 3, 'STORE_NOT_FOUND', [...words, '--store', join(parent, 'typo')]);
    }
    assert.deepEqual(readdirSync(parent), []);
    const error = await refused(t, 3, 'STORE_NOT_FOUND', ['list', '--store', folder]);
    assert.match(error.hint ?? '', /multi-file:/);
  });

  it('whose session is deleted keeps no creds.json that says otherwise', async (t) => {
    const path = join(await makeFolder(t), 'auth');
    const bot = await holdSession(t, { hook: 'useMultiFileAuthState', args: [path, {}] });
    bot.child.stdin.end();
    await bot.ended;
    assert.ok(existsSync(join(path, 'creds.json')));
    await json(t, ['delete', 'default', '--store', path, '--yes']);
    assert.ok(!existsSync(join(path, 'creds.json')));
    assert.deepEqual((await json(t, ['list', '--store', path])).sessions, []);
  });

  it('that is damaged says so, and where', async (t) => {
    const place = await EMBEDDED.make(t);
    await fill(t, place, 'bot-1');
    truncateSync(join(place.address, 'vault.db'), 8192);
    const { code, stderr, stdout } = await cli(t, ['verify', '--store', place.address], SEALED);
    assert.equal(code, 6, stdout + stderr);
    assert.match(stdout + stderr, /CORRUPT_RECORD/);
  });
});

describe('a folder of Baileys’ own function', () => {
  it('is verified file by file', async (t) => {
    const tree = await makeFolder(t);
    for (const name of ['good', 'torn']) {
      cpSync(folder, join(tree, name), { recursive: true });
    }
    writeFileSync(join(tree, 'torn', 'session-15550002222.0.json'), '{"_sess');
    const { code, stdout } = await cli(t, ['verify', '--store', `multi-file:${tree}`]);
    assert.equal(code, 6);
    assert.match(stdout, /^damaged: torn: .*session-15550002222\.0\.json.* \(CORRUPT_RECORD\)$/m);
    assert.match(stdout, /^1 finding in 2 sessions$/m);
  });

  it('is not deleted, sealed anew, or taken for one of ours', async (t) => {
    const store = ['--store', `multi-file:${folder}`];
    await refused(t, 2, 'USAGE', ['delete', 'default', ...store, '--yes']);
    const path = join(await makeFolder(t), 'auth');
    const bot = await holdSession(t, { hook: 'useMultiFileAuthState', args: [path, {}] });
    bot.child.stdin.end();
    await bot.ended;
    await refused(t, 3, 'STORE_NOT_FOUND', ['show', '--store', `multi-file:${path}`]);
    mkdirSync(join(path, 'empty'));
    await refused(t, 3, 'SESSION_NOT_FOUND', ['show', '--store', `multi-file:${join(path, 'empty')}`]);
  });
});

describe('show', () => {
  it('gives the creds with --reveal alone', async (t) => {
    const { creds } = await json<{ creds: object }>(t, [
      'show',
      '--store',
      `multi-file:${folder}`,
      '--reveal',
    ]);
    const text = JSON.stringify(creds);
    assert.ok(text.includes((made.creds as { advSecretKey: string }).advSecretKey));
    assert.match(text, /"noiseKey":\{"private":\{"type":"Buffer","data":"/);
  });

  it('asks for a name where there are several, and knows what was meant', async (t) => {
    const tree = await makeFolder(t);
    for (const name of ['sales', 'support']) {
      cpSync(folder, join(tree, name), { recursive: true });
    }
    const store = ['--store', `multi-file:${tree}`];
    await refused(t, 2, 'USAGE', ['show', ...store]);
    const { hint } = await refused(t, 3, 'SESSION_NOT_FOUND', ['show', 'suport', ...store]);
    assert.match(hint ?? '', /"support"/);
  });
});

const hasScript = spawnSync('script', ['--version'], { stdio: 'ignore' }).error === undefined;

describe('on a terminal', { skip: !hasScript && 'no script(1) on PATH' }, () => {
  /** Types `input` at a command line on a terminal. */
  function typed(
    words: readonly string[],
    input: string,
    env: Record<string, string>,
  ): { said: string; code: number | null } {
    const command = [process.execPath, MAIN, ...words].map((word) => `'${word}'`).join(' ');
    const { stdout, status } = spawnSync('script', ['-qec', command, '/dev/null'], {
      encoding: 'utf8',
      input,
      env: { ...process.env, TERM: 'dumb', ...env },
      timeout: 60_000,
    });
    return { said: stdout, code: status };
  }

  it('delete asks, and takes nothing but yes for an answer', async (t) => {
    const place = await EMBEDDED.make(t);
    await fill(t, place, 'bot-1');
    const words = ['delete', 'bot-1', '--store', place.address];
    const no = typed(words, 'y\n', SEALED.env);
    assert.match(
      no.said,
      /Delete "bot-1" \(15550001111:7@s\.whatsapp\.net, \d+ records, .*\) from .* for good\?/,
    );
    assert.match(no.said, /Nothing was deleted/);
    const yes = typed(words, 'yes\n', SEALED.env);
    assert.equal(yes.code, 0, yes.said);
    assert.match(yes.said, /Deleted "bot-1"/);
  });

  it('long work shows a bar, which is gone at the end', async (t) => {
    const place = await EMBEDDED.make(t);
    await fill(t, place, 'bot-1');
    const { said } = typed(['verify', '--store', place.address], '', SEALED.env);
    assert.match(said, /verifying ░+ {3}0% 0\/1/);
    assert.ok(said.lastIndexOf('\r\u001b[K') < said.indexOf('sound: 1 session'), said);
    const { stderr } = await cli(t, ['verify', '--store', place.address], SEALED);
    assert.equal(stderr, '');
  });

  it('a master key that is asked for is not shown', async (t) => {
    const place = await EMBEDDED.make(t);
    await fill(t, place, 'bot-1');
    const { said, code } = typed(['show', '--store', place.address, '--ask-master-key'], `${KEY}\n`, {});
    assert.equal(code, 0, said);
    assert.match(said, /Master key: /);
    // The terminal itself shows what is typed before the program switches that off; nothing after.
    assert.ok(!said.slice(said.indexOf('Master key:')).includes(KEY), said);
    assert.match(said, /15550001111:7@s\.whatsapp\.net/);
  });
});
