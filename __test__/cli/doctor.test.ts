/** doctor, on a gallery of what can be wrong: each is found under its code, and nothing is found on healthy stores. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { CATALOGUE, type Code } from '../../lib/cli/doctor/catalogue.js';
import { findingOfWarning } from '../../lib/cli/doctor/examine.js';
import { examineRecords } from '../../lib/cli/doctor/records.js';
import type { RecordEntry } from '../../lib/codec/index.js';
import { makeFolder } from '../situations/support.js';
import { describeWith, startPostgres, startRedis } from '../support/services.js';
import { EMBEDDED, SERVERS } from './places.js';
import { SERVER_CODES } from './server-codes.js';
import {
  cli,
  holdSession,
  json,
  KEY,
  type MadeSession,
  makeSession,
  OLD_KEY,
  ROOT,
  realBaileys,
  refused,
  writeFolder,
} from './support.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };

interface Diagnosis {
  sessions: number;
  findings: { code: Code; sessionId: string | null; what: string; severity: string; fixed?: boolean }[];
}

let healthy: MadeSession;
let folder: string;
before(async (t) => {
  healthy = await makeSession();
  const ids = Object.keys(healthy.keys['pre-key'] as object).map(Number);
  const next = Math.max(...ids) + 1;
  const [appStateKey] = Object.keys(healthy.keys['app-state-sync-key'] as object);
  Object.assign(healthy.creds, {
    nextPreKeyId: next,
    firstUnuploadedPreKeyId: next,
    myAppStateKeyId: appStateKey,
  });
  folder = join(await makeFolder(t as TestContext), 'auth_info_baileys');
  await writeFolder(folder, healthy);
  chmodSync(folder, 0o700);
});

const codesOf = ({ findings }: Pick<Diagnosis, 'findings'>): Code[] => findings.map(({ code }) => code);

/** What doctor says of a store, whatever its exit code. */
async function diagnose(
  t: TestContext,
  store: string,
  options: { env?: Record<string, string>; more?: string[] } = {},
): Promise<Diagnosis & { exitCode: number | null }> {
  const { code, stdout, stderr } = await cli(
    t,
    ['doctor', '--store', store, ...(options.more ?? []), '--json'],
    {
      env: options.env ?? {},
    },
  );
  assert.notEqual(stdout, '', stderr);
  return { ...(JSON.parse(stdout) as Diagnosis), exitCode: code };
}

/** Codes that some test below has found. */
const found = new Set<Code>();
const expectCodes = (actual: readonly Code[], expected: readonly Code[], message?: string): void => {
  assert.deepEqual([...actual].sort(), [...expected].sort(), message);
  for (const code of expected) {
    found.add(code);
  }
};

describe('a session', () => {
  type Creds = Record<string, unknown> & { noiseKey: { private: Uint8Array; public: Uint8Array } };

  /** The healthy session's records, after `change` has broken them. */
  function broken(change: (creds: Creds, keys: MadeSession['keys']) => void): RecordEntry[] {
    const { creds, keys } = structuredClone(healthy);
    change(creds as Creds, keys);
    return [
      { type: 'creds', id: '', value: creds },
      ...Object.entries(keys).flatMap(([type, group]) =>
        Object.entries(group).map(([id, value]) => ({ type, id, value })),
      ),
    ];
  }

  const pair = async (): Promise<unknown> => (await realBaileys()).Curve.generateKeyPair();
  const many = async (count: number): Promise<Record<string, unknown>> => {
    const one = await pair();
    return Object.fromEntries(Array.from({ length: count }, (_, at) => [at + 100_000, one]));
  };

  it('that is healthy has nothing wrong', () => {
    assert.deepEqual(
      examineRecords(
        'bot',
        broken(() => {}),
      ),
      [],
    );
  });

  const GALLERY: [
    what: string,
    codes: Code[],
    change: (creds: Creds, keys: MadeSession['keys']) => unknown,
  ][] = [
    ['no advSecretKey', ['CREDS_INCOMPLETE'], (creds) => delete creds.advSecretKey],
    ['no noise key', ['CREDS_INCOMPLETE'], (creds) => delete (creds as Partial<Creds>).noiseKey],
    [
      'a key as base64',
      ['BYTES_MANGLED'],
      (creds) => {
        creds.noiseKey.private = Buffer.from(creds.noiseKey.private).toString('base64') as never;
      },
    ],
    [
      'a key as what JSON leaves of an empty class',
      ['BYTES_MANGLED'],
      (creds) => {
        creds.signedIdentityKey = { private: {}, public: {} };
      },
    ],
    [
      'keys of two sessions',
      ['KEYS_DO_NOT_MATCH'],
      (creds) => {
        creds.noiseKey.public = Buffer.alloc(32, 7);
      },
    ],
    [
      'a signed pre-key of another session',
      ['KEYS_DO_NOT_MATCH'],
      (creds) => {
        (creds.signedPreKey as { keyPair: { public: Uint8Array } }).keyPair.public = creds.noiseKey.public;
      },
    ],
    [
      'an account without a name',
      ['ME_MISSING'],
      (creds) => {
        delete creds.me;
      },
    ],
    [
      'an account that was never paired',
      ['NOT_PAIRED'],
      (creds) => {
        creds.registered = false;
        delete creds.me;
        delete creds.account;
      },
    ],
    [
      'no pre-keys',
      ['PREKEYS_USED_UP'],
      (_, keys) => {
        keys['pre-key'] = {};
      },
    ],
    [
      'pre-keys that were never uploaded',
      ['PREKEYS_USED_UP'],
      (creds) => {
        creds.firstUnuploadedPreKeyId = 1;
      },
    ],
    [
      'three pre-keys',
      ['PREKEYS_LOW'],
      (creds, keys) => {
        const last = (creds.nextPreKeyId as number) - 1;
        const group = keys['pre-key'] as Record<string, unknown>;
        keys['pre-key'] = Object.fromEntries(
          [last, last - 1, last - 2].map((id) => [id, group[id] ?? group[1]]),
        );
      },
    ],
    [
      'the last pre-key lost',
      ['PREKEY_CURRENT_MISSING'],
      (creds) => {
        creds.nextPreKeyId = 9_000;
      },
    ],
    [
      'a pre-key without its private half',
      ['PREKEY_DAMAGED'],
      (_, keys) => {
        (keys['pre-key'] as Record<string, unknown>)['1'] = { public: Buffer.alloc(32) };
      },
    ],
    [
      'an app state key that is missing',
      ['APP_STATE_KEY_MISSING'],
      (creds) => {
        creds.myAppStateKeyId = 'AAAA/other';
      },
    ],
    [
      'an app state key that was cut short',
      ['APP_STATE_KEY_DAMAGED'],
      (_, keys) => {
        const group = keys['app-state-sync-key'] as Record<string, { keyData: unknown }>;
        for (const value of Object.values(group)) value.keyData = 'AAAA';
      },
    ],
    [
      'a chat session that is a text',
      ['SESSION_DAMAGED'],
      (_, keys) => {
        (keys.session as Record<string, unknown>)['1.0'] = 'session';
      },
    ],
    [
      'a chat session that has grown',
      ['SESSION_LARGE'],
      (_, keys) => {
        (keys.session as Record<string, unknown>)['1.0'] = { _sessions: { x: 'x'.repeat(200_000) } };
      },
    ],
    [
      'very many chat sessions',
      ['SESSIONS_MANY'],
      (_, keys) => {
        for (let at = 0; at < 20_001; at++) {
          (keys.session as Record<string, unknown>)[`${at}.0`] = { _sessions: {} };
        }
      },
    ],
  ];
  for (const [what, codes, change] of GALLERY) {
    it(`with ${what} is ${codes.join(', ')}`, () => {
      expectCodes(
        examineRecords('bot', broken(change)).map(({ code }) => code),
        codes,
      );
    });
  }

  it('with very many pre-keys is PREKEYS_MANY', async () => {
    const preKeys = await many(5_001);
    const records = broken((_, keys) => Object.assign(keys['pre-key'] as object, preKeys));
    expectCodes(
      examineRecords('bot', records).map(({ code }) => code),
      ['PREKEYS_MANY'],
    );
  });

  it('without creds is CREDS_MISSING', () => {
    const records = broken(() => {}).slice(1);
    expectCodes(
      examineRecords('bot', records).map(({ code }) => code),
      ['CREDS_MISSING'],
    );
  });
});

describe('a folder of Baileys’ own function', () => {
  /** A copy of the healthy folder, after `change` has broken it. */
  async function copyOf(t: TestContext, change: (at: string) => void = () => {}): Promise<string> {
    const at = join(await makeFolder(t), 'auth');
    cpSync(folder, at, { recursive: true });
    chmodSync(at, 0o700);
    change(at);
    return at;
  }
  const SESSION = 'session-15550002222.0.json';

  const GALLERY: [what: string, codes: Code[], change: (at: string) => void][] = [
    ['that is healthy', [], () => {}],
    ['with a torn creds.json', ['CREDS_TORN'], (at) => truncateSync(join(at, 'creds.json'), 300)],
    [
      'with creds.json of zeros',
      ['CREDS_TORN'],
      (at) => writeFileSync(join(at, 'creds.json'), Buffer.alloc(900)),
    ],
    ['without creds.json', ['CREDS_MISSING'], (at) => rmSync(join(at, 'creds.json'))],
    [
      'with two torn files',
      ['FILE_TORN', 'FILE_TORN'],
      (at) => {
        truncateSync(join(at, SESSION), 10);
        writeFileSync(join(at, 'tctoken-x.json'), '');
      },
    ],
    ['with copies', ['FILE_LEFTOVER'], (at) => cpSync(join(at, SESSION), join(at, `${SESSION}.bak`))],
    ['with something else in it', ['FILE_FOREIGN'], (at) => writeFileSync(join(at, 'notes.txt'), 'x')],
    [
      'with bytes as lists',
      ['BYTES_AS_ARRAY'],
      (at) => {
        const file = join(at, 'pre-key-1.json');
        const { private: secret, public: open } = JSON.parse(readFileSync(file, 'utf8')) as Record<
          string,
          { data: string }
        >;
        const list = (key: { data: string }) => Buffer.from(key.data, 'base64');
        writeFileSync(file, JSON.stringify({ private: list(secret as never), public: list(open as never) }));
      },
    ],
  ];
  it('of a gallery has what was done to it, and no more', async (t) => {
    const tree = await makeFolder(t);
    for (const [what, , change] of GALLERY) {
      renameSync(await copyOf(t, change), join(tree, what));
    }
    const { exitCode, sessions, findings } = await diagnose(t, `multi-file:${tree}`);
    assert.deepEqual([exitCode, sessions], [6, GALLERY.length]);
    for (const [what, codes] of GALLERY) {
      const about = findings.filter(({ sessionId, code }) => sessionId === what && code !== 'IDENTITY_TWICE');
      expectCodes(codesOf({ findings: about }), codes, JSON.stringify(about));
    }
    for (const { severity, code } of findings) {
      assert.equal(severity, CATALOGUE[code].severity);
    }
  });

  it('that is healthy has nothing wrong, and exits so', async (t) => {
    const { exitCode, findings } = await diagnose(t, `multi-file:${await copyOf(t)}`);
    assert.deepEqual([exitCode, findings], [0, []]);
  });

  it('that others can read is FILES_READABLE, and is put right by --fix', async (t) => {
    const at = await copyOf(t, (path) => chmodSync(path, 0o755));
    const store = `multi-file:${at}`;
    expectCodes(codesOf(await diagnose(t, store)), ['FILES_READABLE']);
    assert.equal(statSync(at).mode & 0o777, 0o755);
    const { findings } = await diagnose(t, store, { more: ['--fix'] });
    assert.equal(findings[0]?.fixed, true);
    assert.equal(statSync(at).mode & 0o777, 0o700);
    assert.deepEqual(codesOf(await diagnose(t, store)), []);
  });

  it('with one identity twice is IDENTITY_TWICE, also beside another store', async (t) => {
    const tree = join(await makeFolder(t), 'tree');
    mkdirSync(tree);
    for (const name of ['bot-1', 'bot-2']) {
      renameSync(await copyOf(t), join(tree, name));
    }
    const twice = await diagnose(t, `multi-file:${tree}`);
    expectCodes(codesOf(twice), ['IDENTITY_TWICE']);
    assert.match(twice.findings[0]?.what ?? '', /"bot-2" .* and "bot-1" .* are one identity/);
    const beside = await diagnose(t, `multi-file:${await copyOf(t)}`, {
      more: ['--beside', `multi-file:${tree}`],
    });
    expectCodes(codesOf(beside), ['IDENTITY_TWICE', 'IDENTITY_TWICE']);
  });

  it('is explained to people', async (t) => {
    const { stdout } = await cli(t, [
      'doctor',
      '--store',
      `multi-file:${await copyOf(t, (at) => truncateSync(join(at, 'creds.json'), 300))}`,
    ]);
    const { meaning, action } = CATALOGUE.CREDS_TORN;
    assert.equal(
      stdout,
      `error: CREDS_TORN default: creds.json: it is not valid JSON\n  ${meaning}\n  → ${action}\n` +
        '1 session examined: 1 error\n',
    );
  });
});

describe('a folder of Baileys Vault', () => {
  async function filled(t: TestContext): Promise<string> {
    const { address } = await EMBEDDED.make(t);
    await json(t, ['import', folder, '--store', address], SEALED);
    return address;
  }

  it('that is healthy has nothing wrong', async (t) => {
    const { exitCode, findings } = await diagnose(t, await filled(t), SEALED);
    assert.deepEqual([exitCode, findings], [0, []]);
  });

  it('whose key is another is KEY_UNKNOWN', async (t) => {
    const store = await filled(t);
    expectCodes(codesOf(await diagnose(t, store)), ['KEY_UNKNOWN']);
    expectCodes(codesOf(await diagnose(t, store, { env: { BAILEYS_VAULT_MASTER_KEY: OLD_KEY } })), [
      'KEY_UNKNOWN',
    ]);
  });

  it('that is readable is NOT_SEALED, with and without a key', async (t) => {
    const { address } = await EMBEDDED.make(t);
    await json(t, ['import', folder, '--store', address, '--plain']);
    expectCodes(codesOf(await diagnose(t, address)), ['NOT_SEALED']);
    expectCodes(codesOf(await diagnose(t, address, SEALED)), ['NOT_SEALED']);
  });

  it('with files of others, or of an import, says so', async (t) => {
    const store = await filled(t);
    cpSync(join(folder, 'creds.json'), join(store, 'creds.json'));
    mkdirSync(join(store, 'imported-2026-01-31'));
    chmodSync(store, 0o750);
    expectCodes(codesOf(await diagnose(t, store, SEALED)), [
      'FOREIGN_FILES',
      'FILES_READABLE',
      'IMPORTED_FILES_LEFT',
    ]);
  });

  it('with a damaged record, or a damaged database, names it', async (t) => {
    const store = await filled(t);
    const file = join(store, 'vault.db');
    const bytes = readFileSync(file);
    // The ciphertext of a large record, which SQLite itself does not look at.
    const at = bytes.indexOf('app-state-sync-version');
    const key = bytes.indexOf(Buffer.from([0xb1, 0x10]), at);
    assert.ok(at > 0 && key > 0);
    bytes.writeUInt8(bytes.readUInt8(key + 60) ^ 1, key + 60);
    writeFileSync(file, bytes);
    expectCodes(codesOf(await diagnose(t, store, SEALED)), ['RECORD_DAMAGED']);
  });

  it('that is cut short is STORE_DAMAGED', async (t) => {
    const store = await filled(t);
    truncateSync(join(store, 'vault.db'), 8192);
    const { exitCode, findings } = await diagnose(t, store, SEALED);
    expectCodes(codesOf({ findings }), ['STORE_DAMAGED']);
    assert.equal(exitCode, 6);
  });

  it('that a bot has open cannot be looked at, and its holder is named', async (t) => {
    const place = await EMBEDDED.make(t);
    await holdSession(t, place.bot('bot-1', { masterKey: KEY }));
    await refused(t, 4, 'SESSION_BUSY', ['doctor', '--store', place.address, '--timeout', '1'], SEALED);
  });
});

describe('the warnings of a store', () => {
  it('are findings', () => {
    const TEXTS: [string, Code][] = [
      ['maxmemory-policy is allkeys-lru: Redis may evict sessions; set it to noeviction', 'REDIS_MAY_EVICT'],
      ['appendonly is off: a crash of Redis loses …', 'REDIS_NOT_PERSISTENT'],
      ['bot: mongo-baileys stores neither bytes nor texts nor lists: …', 'LIBRARY_LOSES_RECORDS'],
      ['PostgreSQL has fsync off: a crash …', 'POSTGRES_NOT_DURABLE'],
      ['PostgreSQL has standbys, and none is synchronous …', 'POSTGRES_FAILOVER_LOSES'],
      ['client-output-buffer-limit ends connections', 'STORE_WARNING'],
    ];
    for (const [text, code] of TEXTS) {
      expectCodes([findingOfWarning(text).code], [code]);
    }
  });
});

describeWith(['redis'], 'doctor on Redis', () => {
  it('looks at what an operator set, too', async (t) => {
    const redis = await startRedis({ config: { 'maxmemory-policy': 'allkeys-lru', maxmemory: '100mb' } });
    t.after(() => redis.stop());
    await json(t, ['import', folder, '--store', redis.url], SEALED);
    const { exitCode, findings } = await diagnose(t, redis.url, SEALED);
    expectCodes(codesOf({ findings }), ['REDIS_MAY_EVICT', 'REDIS_NOT_PERSISTENT']);
    assert.equal(exitCode, 6);
  });
});

describeWith(['postgres'], 'doctor on PostgreSQL', () => {
  it('looks at what an operator set, too', async (t) => {
    const postgres = await startPostgres({ config: { synchronous_commit: 'off' } });
    t.after(() => postgres.stop());
    await json(t, ['import', folder, '--store', postgres.url], SEALED);
    const { exitCode, findings } = await diagnose(t, postgres.url, SEALED);
    expectCodes(codesOf({ findings }), ['POSTGRES_NOT_DURABLE']);
    assert.equal(exitCode, 6);
  });
});

for (const { name, needs, make } of SERVERS) {
  describeWith(needs, `doctor beside a bot on ${name}`, () => {
    it('disturbs nobody', async (t) => {
      const place = await make(t);
      await json(t, ['import', folder, '--store', place.address, '--as', 'bot-1'], SEALED);
      const bot = await holdSession(t, place.bot('bot-2', { masterKey: KEY }));
      const { findings, sessions } = await diagnose(t, place.address, SEALED);
      assert.equal(sessions, 2);
      assert.deepEqual(
        findings.filter(({ sessionId }) => sessionId === 'bot-1'),
        [],
      );
      assert.ok(!codesOf({ findings }).includes('LEASE_STALE'), 'a bot that runs holds its session');
      bot.child.stdin.end('write\n');
      assert.equal((await bot.ended).stdout, 'open\nwritten\n');
    });

    it('names the session of one that was killed', async (t) => {
      const place = await make(t);
      await json(t, ['import', folder, '--store', place.address, '--as', 'bot-1'], SEALED);
      const lease = { ttl: { lockTtl: 600 } };
      const bot = await holdSession(t, place.bot('bot-1', { masterKey: KEY, ...lease }));
      bot.child.kill('SIGKILL');
      await bot.ended;
      const { findings } = await diagnose(t, place.address, SEALED);
      const stale = findings.filter(({ code }) => code === 'LEASE_STALE');
      assert.deepEqual(
        stale.map(({ sessionId }) => sessionId),
        ['bot-1'],
      );
      assert.match(stale[0]?.what ?? '', new RegExp(`process ${bot.child.pid} on .* has ended`));
      found.add('LEASE_STALE');
      // The next bot that ends in order leaves nothing.
      const next = await holdSession(t, place.bot('bot-1', { masterKey: KEY, ...lease }));
      next.child.stdin.end('close\n');
      await next.ended;
      const { findings: after } = await diagnose(t, place.address, SEALED);
      assert.ok(!codesOf({ findings: after }).includes('LEASE_STALE'));
    });
  });
}

describe('the catalogue', () => {
  it('is what docs/doctor.md says', () => {
    const page = readFileSync(join(ROOT, 'docs/doctor.md'), 'utf8');
    const rows = [...page.matchAll(/^\| `(\w+)` \| (\w+) \| (.+) \| (.+) \|$/gm)].map(
      ([, code, severity, meaning, action]) => [code, { severity, meaning, action }],
    );
    assert.deepEqual(Object.fromEntries(rows), CATALOGUE);
  });

  it('has nothing that no test above has found', () => {
    const missed = (Object.keys(CATALOGUE) as Code[]).filter(
      (code) => !found.has(code) && !SERVER_CODES.includes(code),
    );
    assert.deepEqual(missed, []);
  });
});
