/** How stores are named: by folders and URLs, and by variables that hold them. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { CliError } from '../../lib/cli/errors.js';
import { type Address, fromVariable, parseAddress } from '../../lib/cli/stores/address.js';
import { StorageError } from '../../lib/errors.js';
import { makeFolder } from '../situations/support.js';
import { cli, KEY, refused } from './support.js';

const parse = (text: string, env: NodeJS.ProcessEnv = {}): Address => parseAddress('--store', text, env);

describe('an address', () => {
  const ADDRESSES: Record<string, Partial<Address> & Record<string, unknown>> = {
    './auth': { kind: 'embedded', options: { path: resolve('auth') } },
    '/var/auth': { kind: 'embedded', options: { path: '/var/auth' } },
    'embedded:auth?durability=full&encryptionAlgorithm=aes-256-gcm': {
      kind: 'embedded',
      shown: 'auth',
      options: { path: resolve('auth'), durability: 'full' },
      security: { encryptionAlgorithm: 'aes-256-gcm' },
    },
    'redis://h:1/2?keyPrefix=shop&compressionAlgorithm=gzip': {
      kind: 'redis',
      options: { redisUrl: 'redis://h:1/2', prefix: 'shop' },
      security: { compressionAlgorithm: 'gzip' },
    },
    'rediss://h?tlsCa=ca.pem&family=4': {
      kind: 'redis',
      options: { redisUrl: 'rediss://h/?family=4', tls: { ca: 'ca.pem' } },
    },
    'redis+sentinel://a,b/main': { kind: 'redis', options: { redisUrl: 'redis+sentinel://a,b/main' } },
    'mongodb://a,b/db?replicaSet=r&databaseName=shop&collectionName=bots': {
      kind: 'mongodb',
      options: {
        mongoUrl: 'mongodb://a,b/db?replicaSet=r',
        databaseName: 'shop',
        collectionName: 'bots',
      },
    },
    'mongodb+srv://cluster.example': {
      kind: 'mongodb',
      options: { mongoUrl: 'mongodb+srv://cluster.example' },
    },
    'hybrid:rediss://r/1?keyPrefix=x+mongodb+srv://m/db?databaseName=y': {
      kind: 'hybrid',
      options: {
        redisUrl: 'rediss://r/1',
        redisPrefix: 'x',
        mongoUrl: 'mongodb+srv://m/db',
        mongoDatabase: 'y',
      },
    },
    'postgres://h/db?sslmode=require&vaultSchema=bots&tlsCa=ca.pem': {
      kind: 'postgres',
      options: { postgresUrl: 'postgres://h/db?sslmode=require', schema: 'bots', tls: { ca: 'ca.pem' } },
    },
    'hybrid:redis://r?keyPrefix=x+postgresql://p/db?vaultSchema=y': {
      kind: 'hybrid',
      options: {
        redisUrl: 'redis://r',
        redisPrefix: 'x',
        postgresUrl: 'postgresql://p/db',
        postgresSchema: 'y',
      },
    },
    'multi-file:./dir': { kind: 'multi-file', folder: resolve('dir') },
    'bot.json': { kind: 'json', file: resolve('bot.json') },
    'sqlite:./auth.db': {
      kind: 'foreign',
      library: 'sqlite',
      shown: 'sqlite:./auth.db',
      place: resolve('auth.db'),
    },
    'baileys-redis-auth:rediss://h:1/2?session=DB1&layout=keys&tlsCa=ca.pem&family=4': {
      kind: 'foreign',
      library: 'baileys-redis-auth',
      place: 'rediss://h:1/2?family=4',
      choices: { session: 'DB1', layout: 'keys' },
      tls: { ca: 'ca.pem' },
    },
    'fazer:redis+sentinel://a,b/main?keyPrefix=x': {
      kind: 'foreign',
      library: 'fazer',
      place: 'redis+sentinel://a,b/main',
      choices: { keyPrefix: 'x' },
    },
    'mongo-baileys:mongodb://a/db?databaseName=x&collectionName=y&tls=true': {
      kind: 'foreign',
      library: 'mongo-baileys',
      place: 'mongodb://a/db?tls=true',
      choices: { databaseName: 'x', collectionName: 'y' },
    },
    'luoarch-rediss://h:1/2?session=a': {
      kind: 'foreign',
      library: 'luoarch-redis',
      shown: 'luoarch-rediss://h:1/2?session=a',
      place: 'rediss://h:1/2',
      choices: { session: 'a' },
    },
    'luoarch-mongodb+srv://a/db?collectionName=y': {
      kind: 'foreign',
      library: 'luoarch-mongodb',
      shown: 'luoarch-mongodb+srv://a/db?collectionName=y',
      place: 'mongodb+srv://a/db',
      choices: { collectionName: 'y' },
    },
    'json:backup': { kind: 'json', file: resolve('backup') },
  };

  for (const [text, expected] of Object.entries(ADDRESSES)) {
    it(`may be ${text}`, () => {
      const found = parse(text) as unknown as Record<string, unknown>;
      for (const [name, value] of Object.entries(expected)) {
        assert.deepEqual(found[name], value, name);
      }
    });
  }

  it('of a folder whose name ends in .json is a folder', async (t) => {
    const folder = join(await makeFolder(t), 'auth.json');
    mkdirSync(folder);
    assert.equal(parse(folder).kind, 'embedded');
  });

  it('of what cannot be read yet says what can', () => {
    const LATER = ['evolution:postgres://h/db'];
    for (const text of LATER) {
      assert.throws(
        () => parse(text),
        (error) =>
          error instanceof CliError &&
          error.code === 'STORE_UNKNOWN' &&
          /not known to this release/.test(error.message) &&
          /redis:\/\/.*mongodb:\/\/.*multi-file:/.test(error.hint ?? ''),
        text,
      );
    }
    assert.throws(() => parse('mysql://h'), { code: 'STORE_UNKNOWN', message: /mysql: is no store/ });
  });

  it('of whatsmeow is refused with the reason', () => {
    assert.throws(() => parse('whatsmeow:./store.db'), {
      code: 'STORE_UNKNOWN',
      message: /protobuf messages .* no creds of Baileys/,
    });
  });

  it('that is incomplete is refused', () => {
    assert.throws(() => parse('multi-file:'), { code: 'USAGE' });
    assert.throws(() => parse('sqlite:'), { code: 'USAGE' });
    assert.throws(() => parse('fazer:mongodb://h'), { code: 'USAGE', message: /expected fazer:redis:/ });
    assert.throws(() => parse('baileys-redis-auth:h:6379'), { code: 'USAGE' });
    assert.throws(() => parse('hybrid:redis://h'), { message: /expected hybrid:redis:\/\/…\+mongodb/ });
    assert.throws(() => parse('hybrid:http://h+mongodb://h'), { code: 'USAGE' });
    assert.throws(() => parse('embedded:auth?keyPrefix=x'), { message: /no option of a folder/ });
  });
});

describe('a password', () => {
  const SECRET = 'hunter2';
  const URLS = [
    `redis://:${SECRET}@h`,
    `rediss://bot:${SECRET}@h:1/2`,
    `redis://h?password=${SECRET}`,
    `redis+sentinel://h/main?sentinelPassword=${SECRET}`,
    `mongodb://bot:${SECRET}@a,b/db`,
    `mongodb://h/?tlsCertificateKeyFilePassword=${SECRET}`,
    `hybrid:redis://h+mongodb://bot:${SECRET}@h`,
    `hybrid:redis://:${SECRET}@h+mongodb://h`,
    `fazer:redis://:${SECRET}@h`,
    `baileys-redis-auth:redis://h?password=${SECRET}`,
    `luoarch-redis://:${SECRET}@h`,
    `mongo-baileys:mongodb://bot:${SECRET}@a,b/db`,
    `postgres://bot:${SECRET}@h/db`,
    `postgres://h/db?user=bot&password=${SECRET}`,
    `hybrid:redis://h+postgres://bot:${SECRET}@h/db`,
  ];

  for (const url of URLS) {
    it(`in ${url.replace(SECRET, '…')} is for a variable, and shown nowhere`, () => {
      assert.throws(
        () => parse(url),
        (error) => error instanceof StorageError && error.code === 'USAGE' && !error.message.includes(SECRET),
      );
      for (const address of [fromVariable('X', { X: url }), parse('env:X', { X: url })]) {
        assert.ok(!address.shown.includes(SECRET), address.shown);
        assert.ok(address.shown.includes('***'), address.shown);
        assert.ok(JSON.stringify('options' in address ? address.options : address).includes(SECRET));
      }
    });
  }
});

describe('the store', () => {
  it('is named by an option or a variable', async (t) => {
    const folder = await makeFolder(t);
    const none = join(folder, 'none');
    const { hint } = await refused(t, 2, 'USAGE', ['list']);
    assert.match(hint ?? '', /BAILEYS_VAULT_STORE/);
    await refused(t, 3, 'STORE_NOT_FOUND', ['list'], { env: { BAILEYS_VAULT_STORE: none } });
    await refused(t, 3, 'STORE_NOT_FOUND', ['list', '--store', 'env:MY_STORE'], { env: { MY_STORE: none } });
    await refused(t, 2, 'CONFIG_INVALID', ['list', '--store', 'env:MY_STORE']);
    await refused(t, 2, 'CONFIG_INVALID', ['list'], { env: { BAILEYS_VAULT_STORE: '' } });
  });

  it('that cannot be reached is an exit code of its own, and no password is in what is said', async (t) => {
    const { code, stdout, stderr } = await cli(t, ['list', '--timeout', '1'], {
      env: { BAILEYS_VAULT_STORE: 'redis://bot:hunter2@127.0.0.1:1' },
    });
    assert.deepEqual([code, stdout], [5, ''], stderr);
    assert.match(stderr, /\((STORAGE_UNAVAILABLE|TIMEOUT|CIRCUIT_OPEN)\)/);
    assert.doesNotMatch(stderr, /hunter2/);
  });

  it('whose option is wrong is named without the place of a hook', async (t) => {
    const { message } = await refused(t, 2, 'CONFIG_INVALID', ['list', '--store', 'redis://h?colour=red']);
    assert.match(message, /^redisUrl: the URL's query holds an unknown option, "colour"/);
  });
});

describe('master keys', () => {
  it('come from a variable or a file, and are shown by no error', async (t) => {
    const folder = await makeFolder(t);
    const file = join(folder, 'key');
    writeFileSync(file, `${KEY.slice(1)}\n`);
    const list = ['list', '--store', folder];
    for (const [words, env, message] of [
      [[], { BAILEYS_VAULT_MASTER_KEY: KEY.slice(1) }, /^BAILEYS_VAULT_MASTER_KEY: .*got 63 characters/],
      [[], { BAILEYS_VAULT_MASTER_KEY: '' }, /^BAILEYS_VAULT_MASTER_KEY: is set but empty/],
      [['--master-key-file', file], {}, /^--master-key-file: .*got 63 characters/],
      [['--master-key-file', join(folder, 'none')], {}, /cannot be read \(ENOENT\)/],
      [['--previous-keys-file', file], { BAILEYS_VAULT_MASTER_KEY: KEY }, /^--previous-keys-file\[0\]/],
    ] as const) {
      const error = await refused(t, 2, 'CONFIG_INVALID', [...list, ...words], { env });
      assert.match(error.message, message);
      assert.ok(!JSON.stringify(error).includes(KEY.slice(1, 20)));
    }
    await refused(t, 2, 'USAGE', [...list], { env: { BAILEYS_VAULT_PREVIOUS_MASTER_KEYS: KEY } });
    await refused(t, 2, 'USAGE', [...list, '--master-key-file', file, '--ask-master-key']);
    const { hint } = await refused(t, 2, 'USAGE', [...list, '--ask-master-key']);
    assert.match(hint ?? '', /--master-key-file/);
  });

  it('are no option', async (t) => {
    await refused(t, 2, 'USAGE', ['list', '--master-key', KEY]);
  });
});
