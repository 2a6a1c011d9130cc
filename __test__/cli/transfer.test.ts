/** import, export and copy: by value, whole or not at all, over nothing, and resumed after an interruption. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { MultiFileSessions } from '../../lib/cli/stores/multi-file.js';
import type { StoredSession } from '../../lib/cli/stores/store.js';
import { CREDS_ID, CREDS_TYPE } from '../../lib/store/records.js';
import { type Ended, makeFolder, startNode } from '../situations/support.js';
import { describeWith, until } from '../support/services.js';
import { EMBEDDED, PLACES, SERVERS } from './places.js';
import {
  cli,
  environment,
  holdSession,
  json,
  KEY,
  MAIN,
  type MadeSession,
  makeSession,
  ownMultiFile,
  refused,
  writeFolder,
} from './support.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };

interface Report {
  copied: number;
  equal: number;
  left: number;
  notDone: { sessionId: string; code: string; message: string }[];
  records: number;
  types: Record<string, { records: number; bytes: number; sha256: string }>;
}

let made: MadeSession;
let folder: string;
before(async (t) => {
  made = await makeSession(5);
  folder = join(await makeFolder(t as TestContext), 'auth_info_baileys');
  await writeFolder(folder, made);
});

/** A folder of folders, each with the session. */
async function makeTree(t: TestContext, names: readonly string[]): Promise<string> {
  const tree = await makeFolder(t);
  for (const name of names) {
    cpSync(folder, join(tree, name), { recursive: true });
  }
  return tree;
}

/** A folder of sessions that are small, for tests that need many. */
async function makeMany(t: TestContext, count: number): Promise<string> {
  const tree = await makeFolder(t);
  const creds = readFileSync(join(folder, 'creds.json'));
  for (let at = 0; at < count; at++) {
    mkdirSync(join(tree, `bot-${at}`));
    writeFileSync(join(tree, `bot-${at}`, 'creds.json'), creds);
  }
  return tree;
}

describeWith(['redis', 'mongo'], 'copy, through every kind of store and back to files', () => {
  it('keeps every value', async (t) => {
    const tree = await makeTree(t, ['bot-1', 'tenant/bot:2']);
    const chain = [`multi-file:${tree}`];
    for (const place of PLACES) {
      chain.push((await place.make(t)).address);
    }
    chain.push(`multi-file:${join(await makeFolder(t), 'back')}`);
    const reports: Report[] = [];
    for (const [at, to] of chain.slice(1).entries()) {
      reports.push(await json<Report>(t, ['copy', '--from', chain[at] as string, '--to', to], SEALED));
    }
    for (const { copied, notDone, types } of reports) {
      assert.deepEqual([copied, notDone], [2, []]);
      assert.deepEqual(types, reports[0]?.types);
    }
    const back = chain.at(-1)?.slice('multi-file:'.length) as string;
    assert.deepEqual(readdirSync(back).sort(), ['bot-1', 'tenant%2Fbot%3A2']);
    for (const name of ['bot-1', 'tenant%2Fbot%3A2']) {
      const files = readdirSync(join(back, name)).sort();
      assert.deepEqual(files, readdirSync(folder).sort());
      const open = await ownMultiFile();
      const [before, after] = [await open(folder), await open(join(back, name))];
      assert.deepEqual(after.state.creds, before.state.creds);
      for (const [type, group] of Object.entries(made.keys)) {
        const ids = Object.keys(group);
        assert.deepEqual(await after.state.keys.get(type, ids), await before.state.keys.get(type, ids), type);
      }
    }
  });
});

describe('import', () => {
  it('seals, unless it is told not to', async (t) => {
    const store = join(await makeFolder(t), 'vault');
    const words = ['import', folder, '--store', store];
    const { hint } = await refused(t, 2, 'USAGE', words);
    assert.match(hint ?? '', /--plain/);
    assert.ok(!existsSync(store));
    await refused(t, 2, 'USAGE', [...words, '--plain'], SEALED);
    await json(t, [...words, '--plain']);
    await refused(t, 6, 'ENCRYPTION_FAILED', ['show', '--store', store], SEALED);
    assert.equal((await json(t, ['show', '--store', store])).sessionId, 'default');
  });

  it('is opened by the hook that it is for', async (t) => {
    const path = join(await makeFolder(t), 'auth');
    await json(t, ['import', folder, '--store', path], SEALED);
    const bot = await holdSession(t, {
      hook: 'useMultiFileAuthState',
      args: [path, { masterKey: KEY }],
    });
    bot.child.stdin.end('write\n');
    assert.equal((await bot.ended).stdout, 'open\nwritten\n');
  });

  it('only looks in a dry run, and makes nothing', async (t) => {
    const store = join(await makeFolder(t), 'vault');
    const report = await json<Report>(t, ['import', folder, '--store', store, '--dry-run'], SEALED);
    assert.deepEqual([report.copied, report.notDone], [1, []]);
    assert.ok(report.records > 30);
    assert.ok(!existsSync(store));
    await json(t, ['import', folder, '--store', store], SEALED);
    const again = await json<Report>(t, ['import', folder, '--store', store, '--dry-run'], SEALED);
    assert.deepEqual([again.copied, again.equal], [0, 1]);
  });

  it('changes nothing in its source', async (t) => {
    const tree = await makeTree(t, ['bot-1']);
    const before = readdirSync(join(tree, 'bot-1')).map(
      (name) => statSync(join(tree, 'bot-1', name)).mtimeMs,
    );
    await json(t, ['import', tree, '--store', join(await makeFolder(t), 'vault')], SEALED);
    const after = readdirSync(join(tree, 'bot-1')).map((name) => statSync(join(tree, 'bot-1', name)).mtimeMs);
    assert.deepEqual(after, before);
  });

  it('names each folder that is torn, and imports the others', async (t) => {
    const tree = await makeTree(t, ['good', 'torn', 'without-keys']);
    writeFileSync(join(tree, 'torn', 'creds.json'), '{"noiseKey":');
    const store = join(await makeFolder(t), 'vault');
    const { code, stdout } = await cli(t, ['import', tree, '--store', store, '--json'], SEALED);
    assert.equal(code, 8);
    const { copied, notDone } = JSON.parse(stdout) as Report;
    assert.equal(copied, 2);
    assert.deepEqual(
      notDone.map(({ sessionId, code }) => [sessionId, code]),
      [['torn', 'CORRUPT_RECORD']],
    );
    // Of one session that was asked for, its own code is the answer.
    const alone = await cli(t, ['import', join(tree, 'torn'), '--store', store], SEALED);
    assert.equal(alone.code, 6);
  });

  it('takes folders and files, one name for one session, and what is there', async (t) => {
    const store = ['--store', join(await makeFolder(t), 'vault')];
    const tree = await makeTree(t, ['a', 'b']);
    await refused(t, 2, 'USAGE', ['import', tree, ...store, '--as', 'x'], SEALED);
    await refused(t, 2, 'USAGE', ['import', 'redis://localhost', ...store], SEALED);
    await refused(t, 3, 'SESSION_NOT_FOUND', ['import', await makeFolder(t), ...store], SEALED);
    await refused(t, 3, 'SESSION_NOT_FOUND', ['import', join(tree, 'none.json'), ...store], SEALED);
  });
});

describe('export', () => {
  /** A store with the session in it. */
  async function filled(t: TestContext): Promise<string[]> {
    const store = ['--store', join(await makeFolder(t), 'vault')];
    await json(t, ['import', folder, ...store, '--as', 'bot-1'], SEALED);
    return store;
  }

  it('writes a folder for its owner alone, whole or not at all', async (t) => {
    const [store, out] = [await filled(t), join(await makeFolder(t), 'out')];
    await json(t, ['export', ...store, '--to', `multi-file:${out}`], SEALED);
    assert.equal(statSync(out).mode & 0o777, 0o700);
    for (const name of readdirSync(out)) {
      assert.equal(statSync(join(out, name)).mode & 0o777, 0o600, name);
      assert.deepEqual(
        JSON.parse(readFileSync(join(out, name), 'utf8')),
        JSON.parse(readFileSync(join(folder, name), 'utf8')),
        name,
      );
    }
    const { code, stdout } = await cli(
      t,
      ['export', ...store, '--to', `multi-file:${out}`, '--json'],
      SEALED,
    );
    assert.deepEqual([code, (JSON.parse(stdout) as Report).equal], [0, 1]);
    writeFileSync(join(out, 'pre-key-1.json'), '{"public":{},"private":{}}');
    const other = await cli(t, ['export', ...store, '--to', `multi-file:${out}`, '--json'], SEALED);
    assert.equal(other.code, 7, other.stdout);
    assert.equal((JSON.parse(other.stdout) as Report).notDone[0]?.code, 'SESSION_EXISTS');
    assert.deepEqual(
      readdirSync(join(out, '..')).filter((name) => name.includes('partial')),
      [],
    );
  });

  it('writes one JSON file, which is imported again, unless it was changed', async (t) => {
    const [store, file] = [await filled(t), join(await makeFolder(t), 'bot-1.json')];
    const report = await json<Report>(t, ['export', 'bot-1', ...store, '--to', file], SEALED);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const text = readFileSync(file, 'utf8');
    const content = JSON.parse(text) as { sessionId: string; creds: { advSecretKey: string }; keys: object };
    assert.equal(content.sessionId, 'bot-1');
    assert.equal(content.creds.advSecretKey, made.creds.advSecretKey);
    assert.deepEqual(Object.keys(content.keys).sort(), Object.keys(made.keys).sort());
    const back = await json<Report>(t, ['import', file, ...store, '--as', 'bot-2'], SEALED);
    assert.deepEqual(back.types, report.types);

    await refused(t, 2, 'CONFIG_INVALID', ['import', join(folder, 'creds.json'), ...store], SEALED);
    for (const changed of [
      text.slice(0, -400),
      text.replace('"nextPreKeyId": 813', '"nextPreKeyId": 814'),
      text.replace(/\n {2}"tctoken": \{[\s\S]*?\n {2}\},?/, ''),
    ]) {
      assert.notEqual(changed, text);
      writeFileSync(file, changed);
      const { code, stdout, stderr } = await cli(t, ['import', file, ...store, '--as', 'bot-3'], SEALED);
      assert.equal(code, 6, stdout);
      assert.match(stdout + stderr, /CORRUPT_RECORD/);
    }
    assert.equal((await json<{ sessions: unknown[] }>(t, ['list', ...store], SEALED)).sessions.length, 2);
  });

  it('needs a place that is made of files', async (t) => {
    const store = await filled(t);
    await refused(t, 2, 'USAGE', ['export', ...store], SEALED);
    await refused(t, 2, 'USAGE', ['export', ...store, '--to', './other'], SEALED);
  });
});

for (const { name, needs, make } of SERVERS) {
  describeWith(needs, `copy from ${name}`, () => {
    it('leaves what a bot holds, on either side, and copies the rest', async (t) => {
      const [from, to] = [await make(t), await EMBEDDED.make(t)];
      const tree = await makeTree(t, ['bot-1', 'bot-2']);
      await json(t, ['import', tree, '--store', from.address], SEALED);
      const words = ['copy', '--from', from.address, '--to', to.address, '--timeout', '1'];
      const bot = await holdSession(t, from.bot('bot-1', { masterKey: KEY }));
      // The dry run says before what is refused then.
      for (const dryRun of [['--dry-run'], []]) {
        const { code, stdout } = await cli(t, [...words, ...dryRun, '--json'], SEALED);
        assert.equal(code, 8);
        const { copied, notDone } = JSON.parse(stdout) as Report;
        assert.equal(copied, 1);
        assert.deepEqual(
          notDone.map(({ sessionId, code }) => [sessionId, code]),
          [['bot-1', 'SESSION_BUSY']],
        );
        assert.match(notDone[0]?.message ?? '', new RegExp(`held by process ${bot.child.pid} on `));
      }
      bot.child.stdin.end('write\n');
      assert.equal((await bot.ended).stdout, 'open\nwritten\n');

      // It goes on where it was, with what the bot has written since.
      const rest = await json<Report>(t, words, SEALED);
      assert.deepEqual([rest.copied, rest.equal], [1, 1]);
      const back = await json<Report>(t, ['copy', '--from', to.address, '--to', from.address], SEALED);
      assert.deepEqual([back.copied, back.equal], [0, 2]);
      assert.deepEqual(back.types, rest.types);
    });
  });
}

describe('copy', () => {
  it('overwrites nothing, and says which of two states is newer', async (t) => {
    const [from, to] = [await EMBEDDED.make(t), await EMBEDDED.make(t)];
    const import_ = ['import', folder, '--as', 'bot-1', '--store'];
    await json(t, [...import_, from.address], SEALED);
    await json(t, [...import_, to.address], SEALED);
    const bot = await holdSession(t, to.bot('bot-1', { masterKey: KEY }));
    bot.child.stdin.end('write\n');
    await bot.ended;
    const there = await cli(t, ['copy', '--from', from.address, '--to', to.address], SEALED);
    assert.equal(there.code, 7, there.stdout);
    assert.match(there.stdout, /another state of it, newer than the source.*differ in session\b/);
    const back = await cli(t, ['copy', '--from', to.address, '--to', from.address], SEALED);
    assert.equal(back.code, 7);
    assert.match(back.stdout, /another state of it, older than the source/);
    assert.equal((await json(t, ['show', 'bot-1', '--store', from.address], SEALED)).version, 1);
  });

  it('copies what is named, under another name if that is asked', async (t) => {
    const tree = `multi-file:${await makeTree(t, ['a', 'b'])}`;
    const to = await EMBEDDED.make(t);
    const words = ['copy', '--from', tree, '--to', to.address];
    await refused(t, 2, 'USAGE', [...words, '--as', 'x'], SEALED);
    await refused(t, 2, 'USAGE', [...words, 'a', 'b', '--as', 'x'], SEALED);
    await refused(t, 2, 'USAGE', ['copy', '--from', to.address, '--to', to.address], SEALED);
    await json(t, [...words, 'a', '--as', 'bot-a'], SEALED);
    const missing = await cli(t, [...words, 'c'], SEALED);
    assert.equal(missing.code, 3, missing.stdout);
    const { sessions } = await json<{ sessions: unknown }>(t, ['list', '--store', to.address], SEALED);
    assert.deepEqual(sessions, [{ sessionId: 'bot-a' }]);
  });

  it('has a key for each side', async (t) => {
    const [from, to] = [await EMBEDDED.make(t), await EMBEDDED.make(t)];
    await json(t, ['import', folder, '--store', from.address], SEALED);
    const other = 'abcdef01'.repeat(8);
    const words = ['copy', '--from', from.address, '--to', to.address];
    await json(t, words, {
      env: { BAILEYS_VAULT_FROM_MASTER_KEY: KEY, BAILEYS_VAULT_TO_MASTER_KEY: other },
    });
    await json(t, ['verify', '--store', to.address], { env: { BAILEYS_VAULT_MASTER_KEY: other } });
    await refused(t, 2, 'USAGE', words, { env: { BAILEYS_VAULT_FROM_MASTER_KEY: KEY } });
  });

  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGKILL', null],
  ] as const) {
    it(`goes on where ${signal} has ended it`, async (t) => {
      const COUNT = 60;
      const source = await EMBEDDED.make(t);
      await json(t, ['import', await makeMany(t, COUNT), '--store', source.address, '-j', '8'], SEALED);
      const target = join(await makeFolder(t), 'out');
      const words = [
        'copy',
        '--from',
        source.address,
        '--to',
        `multi-file:${target}`,
        '--jobs',
        '1',
        '--json',
      ];
      const first = startNode(t, [MAIN, ...words], { env: environment(SEALED.env) });
      const done = (): string[] =>
        existsSync(target) ? readdirSync(target).filter((name) => !name.startsWith('.')) : [];
      await until('some are copied', async () => done().length >= 3);
      first.child.kill(signal);
      const ended: Ended = await first.ended;
      assert.equal(ended.code, code, ended.stderr);
      const before = done();
      assert.ok(before.length < COUNT, `${before.length} were copied before the signal`);
      if (signal === 'SIGINT') {
        const { copied, left } = JSON.parse(ended.stdout) as Report;
        assert.equal(copied, before.length);
        assert.equal(left, COUNT - before.length);
      }
      const rest = JSON.parse((await cli(t, words, SEALED)).stdout) as Report;
      assert.deepEqual([rest.copied, rest.equal, rest.left], [COUNT - before.length, before.length, 0]);
      assert.equal(rest.types.creds?.records, COUNT);
    });
  }
});

describe('a folder of Baileys’ own function', () => {
  const open = (at: string, single = false): MultiFileSessions =>
    new MultiFileSessions(at, at, single, () => {});
  const credsOnly = async (): Promise<StoredSession> => ({
    records: [{ type: CREDS_TYPE, id: CREDS_ID, value: made.creds }],
  });

  it('that is written while it is read has a bot on it', async (t) => {
    const tree = await makeTree(t, ['bot-1']);
    const file = join(tree, 'bot-1', 'session-15550002222.0.json');
    await assert.rejects(
      open(tree).hold('bot-1', async () => writeFileSync(file, '{}')),
      { code: 'SESSION_BUSY' },
    );
    await open(tree).hold('bot-1', async (session) => assert.ok(session));
  });

  it('never has two records in one file, or one that is lost in it', async (t) => {
    const { records } = await credsOnly();
    const value = { a: 1 };
    for (const [wrong, message] of [
      [
        [
          { type: 'session', id: 'a:1', value },
          { type: 'session', id: 'a-1', value },
        ],
        /would be in one file with session a:1/,
      ],
      [[{ type: 'session', id: 'x'.repeat(300), value }], /cannot be the name of a file/],
      [[{ type: 'session', id: '1', value: { n: 1n } }], /bigint/],
    ] as const) {
      const parent = await makeFolder(t);
      await assert.rejects(
        open(join(parent, 'out'), true).create('default', { records: [...wrong, ...records] }),
        { code: 'INVALID_VALUE', message },
      );
      assert.deepEqual(readdirSync(parent), []);
    }
  });

  it('keeps records of types that nobody knows', async (t) => {
    const { records } = await credsOnly();
    const bridge = { type: 'bridge-portal', id: '120363025246125486@g.us', value: { key: Buffer.from('k') } };
    const session = { records: [bridge, ...records] };
    const out = open(join(await makeFolder(t), 'out'), true);
    await out.create('default', session);
    const back = await out.readBack('default', session);
    assert.deepEqual(back?.records.find(({ type }) => type === bridge.type)?.value, bridge.value);
    // Where the type ends cannot be seen in the name, so it is found under each that it may have.
    const read = await out.read('default');
    assert.ok(read?.records.some(({ type, id }) => type === bridge.type && id === bridge.id));
  });
});
