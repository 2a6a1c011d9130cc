/** What is wrong with a store of another library, or with its server: named, and never taken for "no session". */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import { fromVariable } from '../../../lib/cli/stores/address.js';
import type { ForeignAddress } from '../../../lib/cli/stores/foreign/address.js';
import { openForeign } from '../../../lib/cli/stores/foreign/open.js';
import type { SourceSessions } from '../../../lib/cli/stores/foreign/source.js';
import { SessionBusyError } from '../../../lib/errors.js';
import { makeFolder } from '../../situations/support.js';
import { describeWith, freePort, type Server, startRedis } from '../../support/services.js';
import { openSqlite } from '../../support/sqlite.js';
import { cli, json, KEY, type MadeSession, makeSession, refused } from '../support.js';
import { SOURCES } from './kinds.js';
import { writeFazer, writeHash, writeKeys, writeSqlite } from './writers.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
const SECRET = 'hunter2';

interface Diagnosis {
  findings: { code: string; what: string }[];
}

/** What doctor finds, whatever its exit code. */
async function codes(t: TestContext, store: string): Promise<string[]> {
  const { stdout, stderr } = await cli(t, ['doctor', '--store', store, '--json']);
  assert.notEqual(stdout, '', stderr);
  return (JSON.parse(stdout) as Diagnosis).findings.map(({ code }) => code);
}

const open = (address: string): Promise<SourceSessions> =>
  openForeign(fromVariable('X', { X: address }) as ForeignAddress, {
    keys: {},
    timeout: 5000,
    warn: () => {},
  });

/** How one record of a session is changed behind the library's back; null deletes it. */
type Spoil = (sessionId: string, name: string, text: string | null) => Promise<unknown>;

describeWith(['redis'], 'a damaged session', () => {
  let server: Server;
  let redis: Redis;
  let folder: string;
  before(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  const inHash =
    (keyOf: (sessionId: string) => string): Spoil =>
    (sessionId, name, text) =>
      text === null ? redis.hdel(keyOf(sessionId), name) : redis.hset(keyOf(sessionId), name, text);
  const KINDS: Record<
    string,
    { address(): string; write: (session: MadeSession) => Promise<unknown>; spoil: Spoil }
  > = {
    'in a hash': {
      address: () => `baileys-redis-auth:${server.url}`,
      write: (session) => writeHash(server.url, 'bot', session),
      spoil: inHash((sessionId) => `${sessionId}:auth`),
    },
    'in keys': {
      address: () => `baileys-redis-auth:${server.url}`,
      write: (session) => writeKeys(server.url, 'bot', session),
      spoil: (sessionId, name, text) =>
        text === null ? redis.del(`${sessionId}:${name}`) : redis.set(`${sessionId}:${name}`, text),
    },
    'of fazer': {
      address: () => `fazer:${server.url}`,
      write: (session) => writeFazer(server.url, 'bot', session),
      spoil: inHash((sessionId) => `@baileys-api:connections:${sessionId}:authState`),
    },
    'in SQLite': {
      address: () => `sqlite:${folder}`,
      write: (session) => writeSqlite(join(folder, 'bot.db'), session),
      async spoil(sessionId, name, text) {
        const db = openSqlite(join(folder, `${sessionId}.db`));
        const [, type, id] = /^(pre-key)-(.+)$/.exec(name) ?? [];
        const [table, where] =
          type === undefined
            ? ['creds', "key = '__creds__'"]
            : ['signal_keys', `type = '${type}' AND id = '${id}'`];
        db.exec(
          text === null
            ? `DELETE FROM ${table} WHERE ${where}`
            : `UPDATE ${table} SET value = '${text}' WHERE ${where}`,
        );
        db.close();
      },
    },
  };

  for (const [kind, { address, write, spoil }] of Object.entries(KINDS)) {
    it(`${kind} is refused by name, and examined by doctor`, async (t) => {
      folder = await makeFolder(t);
      const whole = await makeSession(10);
      const CASES: [name: string, text: string | null, says: RegExp, code: string][] = [
        ['creds', '{"noiseKey":', /creds.*not valid JSON/, 'CREDS_TORN'],
        ['creds', '', /creds.*it is empty/, 'CREDS_TORN'],
        ['creds', 'null', /creds.*expected an object/, 'CREDS_INCOMPLETE'],
        ['creds', '{}', /creds.*it does not hold credentials/, 'CREDS_INCOMPLETE'],
        ['creds', null, /creds.*it is missing beside \d+ keys/, 'CREDS_MISSING'],
        ['pre-key-1', '{"private":', /pre-key.1\b.*not valid JSON/, 'RECORD_DAMAGED'],
      ];
      for (const [name, text, says, code] of CASES) {
        await redis.flushall();
        await write(whole);
        await spoil('bot', name, text);
        const said = `${name} ${text}`;
        const { message, ...rest } = await refused(t, 6, 'CORRUPT_RECORD', [
          'show',
          'bot',
          '--store',
          address(),
        ]);
        assert.match(message, says, said);
        assert.ok(!JSON.stringify(rest).includes('noiseKey"'), said);
        const { sessions } = await json<{ sessions: unknown[] }>(t, ['list', '--store', address()]);
        assert.deepEqual(sessions, [{ sessionId: 'bot' }], said);
        const found = await codes(t, address());
        assert.ok(found.includes(code), `${said}: ${found}`);
      }
      const vault = join(await makeFolder(t), 'vault');
      const ended = await cli(t, ['import', address(), '--store', vault, '--json'], SEALED);
      assert.equal(ended.code, 6, ended.stdout);
      await refused(t, 3, 'SESSION_NOT_FOUND', ['show', 'bot', '--store', vault], SEALED);
    });
  }

  it('has a key of another type, which is named', async (t) => {
    await redis.flushall();
    await writeKeys(server.url, 'bot', await makeSession());
    await redis.del('bot:pre-key-1');
    await redis.rpush('bot:pre-key-1', 'x');
    await redis.set('@baileys-api:connections:1555:authState', 'x');
    const { message } = await refused(t, 6, 'CORRUPT_RECORD', [
      'show',
      '--store',
      `baileys-redis-auth:${server.url}`,
    ]);
    assert.match(message, /"bot:pre-key-1" holds something else than a string/);
    const other = await refused(t, 6, 'CORRUPT_RECORD', ['show', '--store', `fazer:${server.url}`]);
    assert.match(other.message, /1555:authState" holds something else than a hash/);
    assert.deepEqual(await codes(t, `fazer:${server.url}`), ['RECORD_DAMAGED']);
  });

  it('is there twice, and refused until it is said which one counts', async (t) => {
    await redis.flushall();
    const [ours, other] = [await makeSession(), await makeSession()];
    await writeHash(server.url, 'bot', ours);
    await writeKeys(server.url, 'bot', other);
    const address = `baileys-redis-auth:${server.url}`;
    const { message, hint } = await refused(t, 2, 'USAGE', ['show', 'bot', '--store', address]);
    assert.match(message, /bot:auth, bot:creds/);
    assert.match(hint ?? '', /layout=hash or layout=keys/);
    const digests = await Promise.all(
      ['hash', 'keys'].map(async (layout) => {
        const store = `${address}?layout=${layout}`;
        const { types } = await json<{ types: Record<string, { sha256: string }> }>(t, [
          'show',
          '--store',
          store,
        ]);
        return types.creds?.sha256;
      }),
    );
    assert.equal(new Set(digests).size, 2);
    await refused(t, 2, 'USAGE', ['list', '--store', `${address}?layout=other`]);
  });

  it('may have any name, and a prefix', async (t) => {
    await redis.flushall();
    const session = await makeSession();
    const names = ['a', 'a:b', 'ten*nt?[x]', 'Zoë', 'sender-key'];
    for (const name of names) {
      await writeKeys(server.url, `app:${name}`, {
        ...session,
        keys: { ...session.keys, 'bridge-x': { 1: 'a' } },
      });
    }
    const address = `baileys-redis-auth:${server.url}?keyPrefix=app:`;
    const { sessions } = await json<{ sessions: { sessionId: string }[] }>(t, ['list', '--store', address]);
    assert.deepEqual(sessions.map(({ sessionId }) => sessionId).sort(), [...names].sort());
    const vault = join(await makeFolder(t), 'vault');
    const { copied, types } = await json<{ copied: number; types: Record<string, { records: number }> }>(
      t,
      ['import', address, '--store', vault],
      SEALED,
    );
    assert.equal(copied, names.length);
    // Of a type that is not known, where the id begins is not known either.
    assert.deepEqual([types['bridge-x']?.records, types.bridge?.records], [5, 5]);
    for (const name of names) {
      const one = `${address}&session=${encodeURIComponent(name)}`;
      const { sessions: found } = await json<{ sessions: unknown[] }>(t, ['list', '--store', one]);
      assert.deepEqual(found, [{ sessionId: name }]);
    }
  });
});

describeWith(['redis'], 'a session that somebody uses', () => {
  let server: Server;
  let redis: Redis;
  before(async () => {
    server = await startRedis();
    redis = new Redis(server.url);
  });
  after(async () => {
    redis.disconnect();
    await server.stop();
  });

  it('is refused when it changes while it is copied', async (t) => {
    const session = await makeSession();
    for (const { name, make } of SOURCES) {
      const { address, write } = await make(t);
      await write('bot', session);
      const store = await open(address);
      try {
        assert.ok((await store.hold('bot', async (found) => found)) !== undefined, name);
        const changed = store.hold('bot', async () => {
          await write('bot', { ...session, creds: { ...session.creds, accountSyncCounter: 77 } });
        });
        await assert.rejects(
          changed,
          (error) => error instanceof SessionBusyError && /\(creds\): a bot has it open/.test(error.message),
          name,
        );
      } finally {
        await store.close();
      }
    }
  });

  it('is refused while a process of baileys-api has its lease', async (t) => {
    await writeFazer(server.url, '1555', await makeSession());
    await redis.set('@baileys-api:cluster:lease:1555', '{"owner":"worker-1","epoch":3}', 'PX', 60_000);
    const vault = join(await makeFolder(t), 'vault');
    for (const more of [[], ['--dry-run']]) {
      const words = ['import', `fazer:${server.url}`, '--store', vault, ...more];
      const { code, stdout } = await cli(t, [...words, '--json'], SEALED);
      assert.equal(code, 4, stdout);
      assert.match(stdout, /"SESSION_BUSY"/);
    }
    await redis.del('@baileys-api:cluster:lease:1555');
    await json(t, ['import', `fazer:${server.url}`, '--store', vault], SEALED);
  });
});

describeWith(['redis'], 'the server of a source', () => {
  it('that asks for a password gets it from a variable, and no output shows it', async (t) => {
    const server = await startRedis({ config: { requirepass: SECRET } });
    t.after(() => server.stop());
    const { host } = new URL(server.url);
    const url = (password: string): string => `redis://:${password}@${host}`;
    await writeHash(url(SECRET), 'bot', await makeSession());
    const vault = join(await makeFolder(t), 'vault');
    const run = (password: string) =>
      cli(t, ['copy', '--from', 'env:OLD', '--to', vault], {
        env: { ...SEALED.env, OLD: `baileys-redis-auth:${url(password)}` },
      });
    const wrong = await run('not-the-word');
    assert.equal(wrong.code, 2, wrong.stderr);
    assert.match(wrong.stderr, /password/);
    assert.doesNotMatch(wrong.stderr + wrong.stdout, /not-the-word/);
    const none = await cli(t, ['list', '--store', `baileys-redis-auth:redis://${host}`]);
    assert.equal(none.code, 2, none.stderr);
    const right = await run(SECRET);
    assert.equal(right.code, 0, right.stderr);
    assert.doesNotMatch(right.stderr + right.stdout, new RegExp(SECRET));
    await refused(t, 2, 'USAGE', ['list', '--store', `fazer:${url(SECRET)}`]);
  });
});

describe('a source that is not there', () => {
  it('is unavailable, and not empty', async (t) => {
    const port = await freePort();
    for (const address of [
      `baileys-redis-auth:redis://127.0.0.1:${port}`,
      `fazer:redis://127.0.0.1:${port}`,
      `mongo-baileys:mongodb://127.0.0.1:${port}/db`,
    ]) {
      await refused(t, 5, 'STORAGE_UNAVAILABLE', ['list', '--store', address, '--timeout', '1']);
    }
  });

  it('is no file, and none is made', async (t) => {
    const folder = await makeFolder(t);
    const file = join(folder, 'auth.db');
    await refused(t, 3, 'STORE_NOT_FOUND', ['list', '--store', `sqlite:${file}`]);
    assert.deepEqual(readdirSync(folder), []);
    writeFileSync(file, 'this is no database '.repeat(100));
    await refused(t, 6, 'CORRUPT_RECORD', ['show', '--store', `sqlite:${file}`]);
    assert.deepEqual(await codes(t, `sqlite:${file}`), ['RECORD_DAMAGED']);
    const db = openSqlite(join(folder, 'other.db'));
    db.exec('CREATE TABLE notes (text TEXT)');
    db.close();
    const { message } = await refused(t, 6, 'CORRUPT_RECORD', [
      'show',
      '--store',
      `sqlite:${join(folder, 'other.db')}`,
    ]);
    assert.match(message, /no table creds and signal_keys/);
    // In a folder it is somebody else's.
    const { sessions } = await json<{ sessions: unknown[] }>(t, ['list', '--store', `sqlite:${folder}`]);
    assert.deepEqual(sessions, [{ sessionId: 'auth' }]);
  });
});

describe('a file in SQLite', () => {
  it('is copied beside a bot that has it open, and is not changed', async (t) => {
    const folder = await makeFolder(t);
    const file = join(folder, 'auth.db');
    const session = await makeSession();
    await writeSqlite(file, session);
    const bot = openSqlite(file);
    bot.exec("INSERT INTO signal_keys VALUES ('bridge-x', '1', '\"text\"')");
    assert.ok(existsSync(`${file}-wal`), 'what the bot has written last stands in the log');
    const before = readFileSync(file);
    const { copied, types } = await json<{ copied: number; types: Record<string, unknown> }>(
      t,
      ['import', `sqlite:${file}`, '--store', join(folder, 'vault')],
      SEALED,
    );
    assert.equal(copied, 1);
    assert.deepEqual(Object.keys(types).sort(), ['bridge-x', 'creds', ...Object.keys(session.keys)].sort());
    assert.ok(readFileSync(file).equals(before));
    bot.close();
  });
});
