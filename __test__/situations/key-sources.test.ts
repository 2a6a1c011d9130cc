/** Master keys that a program prints or a function answers with: had when the store connects, or the store does not open. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { inspect } from 'node:util';
import {
  ConfigError,
  createHybridStore,
  createMongoStore,
  createRedisStore,
  EncryptionError,
  type HybridStoreConfig,
  type SharedOptions,
  useHybridAuthState,
  useMultiFileAuthState,
} from '../../lib/index.js';
import { describeWith, sharedMongo, sharedRedis } from '../support/services.js';
import { makeFolder } from './support.js';

const KEY = 'c0ffee00'.repeat(8);
const OLD_KEY = 'decade00'.repeat(8);
const SESSION = 's';
const DATA = { 'lid-mapping': { a: 'readable-7f3a' } };
const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };

/** A program of one line of JavaScript, as somebody's own script would be. */
async function program(t: TestContext, script: string): Promise<readonly string[]> {
  const file = join(await makeFolder(t), 'print key.cjs');
  writeFileSync(file, `#!${process.execPath}\n${script}`);
  chmodSync(file, 0o700);
  return [file];
}

const printing = (t: TestContext, text: string): Promise<readonly string[]> =>
  program(t, `process.stdout.write(${text})`);

const open = (path: string, options: SharedOptions) =>
  useHybridAuthState({ sessionId: SESSION, embedded: { path }, logger, openTimeout: 2_000, ...options });

/** Opens, writes and closes; what was stored is sealed with the key and reads again with it. */
async function use(path: string, options: SharedOptions): Promise<void> {
  const { state, store } = await open(path, options);
  try {
    await state.keys.set(DATA);
    assert.deepEqual(await state.keys.get('lid-mapping', ['a']), { a: 'readable-7f3a' });
  } finally {
    await store.close();
  }
}

async function fails(work: Promise<unknown>, field: string, expected: RegExp, secret = KEY): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof ConfigError, inspect(error));
    assert.equal(error.field, field);
    assert.match(error.expected, expected);
    assert.ok(!inspect(error, { depth: 9 }).includes(secret), 'what was printed is shown');
    return true;
  });
}

describe('a master key', () => {
  it('is printed by a program, as text or as bytes', async (t) => {
    for (const text of [
      `'${KEY}'`,
      `'${KEY}\\n'`,
      `'  ${KEY.toUpperCase()}\\r\\n'`,
      `Buffer.from('${KEY}', 'hex')`,
    ]) {
      const path = await makeFolder(t);
      await use(path, { security: { masterKeyCommand: await printing(t, text) } });
      assert.ok(!readFileSync(join(path, 'vault.db')).includes('readable-7f3a'));
      await use(path, { masterKey: KEY });
      await assert.rejects(open(path, { masterKey: OLD_KEY }), EncryptionError);
    }
  });

  it('is asked for without a shell, with its arguments as they are', async (t) => {
    const path = await makeFolder(t);
    const [file] = await printing(t, 'process.argv[2]');
    await use(path, { security: { masterKeyCommand: [file as string, KEY, '$HOME; `touch nothing`'] } });
    await use(path, { masterKey: KEY });
  });

  it('is answered by a function, at once or later', async (t) => {
    const path = await makeFolder(t);
    let asked = 0;
    const masterKey = async () => {
      asked += 1;
      return Buffer.from(KEY, 'hex');
    };
    const { state, store } = await open(path, { masterKey });
    await state.keys.set(DATA);
    await state.keys.get('lid-mapping', ['a']);
    assert.equal(asked, 1, 'once for each connection');
    await store.close();
    await store.connect();
    assert.equal(asked, 2);
    await store.close();
    await use(path, { masterKey: () => KEY });
    await use(path, { masterKey: KEY });
  });

  it('that was used before comes in the same ways', async (t) => {
    const path = await makeFolder(t);
    await use(path, { masterKey: OLD_KEY });
    await use(path, {
      security: {
        masterKeyCommand: await printing(t, `'${KEY}'`),
        previousMasterKeysCommand: await printing(t, `'${'ab'.repeat(32)}\\n${OLD_KEY}\\n'`),
      },
    });
    const { store } = await open(path, { masterKey: () => KEY, previousMasterKeys: async () => [OLD_KEY] });
    await store.rotateKey(SESSION);
    await store.close();
    await use(path, { masterKey: KEY });
  });

  it('that cannot be had opens no store, and says why without showing it', async (t) => {
    const command = 'security.masterKeyCommand';
    const cases: [script: string, expected: RegExp][] = [
      [`process.stdout.write('${KEY}'); process.exitCode = 3`, /ended with exit code 3/],
      [`process.stdout.write('${KEY}'); process.kill(process.pid, 'SIGTERM')`, /was ended by SIGTERM/],
      ['', /printed nothing/],
      [`console.log(' ')`, /printed nothing/],
      [`process.stdout.write('${KEY}00')`, /expected 64 hex/],
      [`process.stdout.write('${KEY} ${KEY}')`, /expected 64 hex/],
      [`process.stdout.write('${KEY}'.repeat(2000))`, /more than a key/],
      [`process.stdout.write('${KEY}'); setInterval(() => {}, 1000)`, /did not end within 2000 ms/],
    ];
    const path = join(await makeFolder(t), 'vault');
    for (const [script, expected] of cases) {
      await fails(
        open(path, { security: { masterKeyCommand: await program(t, script) } }),
        command,
        expected,
      );
    }
    const missing = join(path, 'no-such-program');
    await fails(
      open(path, { security: { masterKeyCommand: [missing] } }),
      command,
      /cannot be run \(ENOENT\)/,
    );
    const answers: [masterKey: () => never, expected: RegExp][] = [
      [(() => undefined) as never, /answered with nothing/],
      [(async () => '') as never, /answered with nothing/],
      [(async () => KEY.slice(1)) as never, /expected 64 hex/],
      [() => new Promise(() => {}) as never, /did not answer within 2000 ms/],
    ];
    for (const [masterKey, expected] of answers) {
      await fails(open(path, { masterKey }), 'masterKey', expected);
    }
    const cause = new Error('the KMS is away');
    await assert.rejects(
      open(path, { masterKey: () => Promise.reject(cause) }),
      (error) => error instanceof ConfigError && error.cause === cause && error.field === 'masterKey',
    );
    const previousMasterKeys = (async () => []) as () => Promise<string[]>;
    await use(join(path, 'none'), { masterKey: KEY, previousMasterKeys });
    await fails(
      open(path, { masterKey: KEY, security: { previousMasterKeysCommand: await program(t, '') } }),
      'security.previousMasterKeysCommand',
      /printed nothing/,
    );
    assert.ok(!existsSync(join(path, 'vault.db')), 'a store was made without its key');
  });

  it('opens the folder of a bot as well', async (t) => {
    const folder = await makeFolder(t);
    const security = { masterKeyCommand: await printing(t, `'${KEY}'`) };
    const first = await useMultiFileAuthState(folder, { security, logger });
    await first.saveCreds();
    await first.store.close();
    const { state, store } = await useMultiFileAuthState(folder, { masterKey: KEY, logger });
    assert.deepEqual(state.creds.noiseKey, first.state.creds.noiseKey);
    await store.close();
  });
});

describeWith(['redis', 'mongo'], 'a hybrid store of two that get their key from a function', () => {
  it('seals with it', async (t) => {
    const name = `key-source-${process.pid}`;
    const masterKey = async () => KEY;
    const redis = await createRedisStore({ redisUrl: await sharedRedis(), prefix: name, masterKey });
    const mongo = await createMongoStore({ mongoUrl: await sharedMongo(), databaseName: name, masterKey });
    t.after(() => Promise.all([redis.close(), mongo.close()]));
    const config = {} as HybridStoreConfig;
    const store = await createHybridStore(redis, mongo, config);
    await store.set(SESSION, { keys: DATA });
    assert.deepEqual(Object.keys((await store.seals(SESSION)).keys), [
      Object.keys((await mongo.seals(SESSION)).keys)[0],
    ]);
    assert.equal((await store.seals(SESSION)).stale, 0);
    assert.ok(!('plain' in (await store.seals(SESSION)).keys));
    await store.close();
  });

  it('takes no other key beside it', async () => {
    const [redisUrl, mongoUrl] = [await sharedRedis(), await sharedMongo()];
    const redis = await createRedisStore({ redisUrl });
    const mongo = await createMongoStore({ mongoUrl });
    const config = { security: { masterKeyCommand: ['echo', KEY] } };
    await fails(
      createHybridStore(redis, mongo, config as never),
      'config.security.masterKeyCommand',
      /createRedisStore/,
    );
    await Promise.all([redis.close(), mongo.close()]);
  });
});
