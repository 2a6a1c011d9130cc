/** What a program shows by printing what a hook gave it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { describeWith, sharedMongo, sharedRedis } from '../support/services.js';
import { makeFolder, runNode } from './support.js';

const ROOT = join(__dirname, '..', '..');
const KEY = 'c0ffee11'.repeat(8);
const OLD_KEY = 'c0ffee22'.repeat(8);
const PASSWORD = 'hunter2-hunter2';

/** Prints, in every way there is, all that `open` gives, and looks for keys in the memory that Buffers share. */
const show = (open: string): string => `
import { inspect } from 'node:util';
import * as vault from 'baileys-vault';
const { KEY, OLD_KEY, PASSWORD, FOLDER, REDIS, MONGO } = process.env;
const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };
const shown = [];
// A Buffer of the pool shows all of the pool as its \`buffer\`.
const needle = Buffer.alloc(32);
needle.write(KEY, 'hex');
const before = Buffer.from('x').buffer;
const look = (name, value) => {
  const ways = {
    inspect: () => inspect(value, { showHidden: true, depth: Infinity, maxArrayLength: Infinity, maxStringLength: Infinity }),
    getters: () => inspect(value, { showHidden: true, getters: true, depth: 20, maxArrayLength: Infinity }),
    json: () => JSON.stringify(value),
    clone: () => inspect(structuredClone(value), { depth: Infinity }),
  };
  for (const [way, text] of Object.entries(ways)) {
    let found;
    try { found = text() ?? ''; } catch (error) { found = String(error); }
    const plain = found.toLowerCase().replace(/[\\s,]/g, '');
    for (const [secret, what] of [['c0ffee11', 'key'], ['c0ffee22', 'old key'], ['19225523817', 'key in JSON'], [PASSWORD, 'password']]) {
      if (plain.includes(secret)) shown.push(name + ' by ' + way + ': ' + what);
    }
  }
};
${open}
for (const pool of [before, Buffer.from('x').buffer]) {
  if (Buffer.from(pool).includes(needle)) shown.push('the pool: key');
}
console.log('SHOWN ' + JSON.stringify(shown));
process.exit(0);
`;

async function shownBy(
  t: Parameters<typeof runNode>[0],
  open: string,
  env: NodeJS.ProcessEnv,
): Promise<string[]> {
  const { code, stdout, stderr } = await runNode(t, ['--input-type=module', '-e', show(open)], {
    cwd: ROOT,
    env: { ...process.env, KEY, OLD_KEY, PASSWORD, ...env },
  });
  assert.equal(code, 0, stderr);
  const [, json = ''] = /^SHOWN (.*)$/m.exec(stdout) ?? [];
  return JSON.parse(json) as string[];
}

describe('secrets of a folder', () => {
  it('are in nothing that the hook gives', async (t) => {
    const FOLDER = join(await makeFolder(t), 'auth');
    const open = `
      const result = await vault.useMultiFileAuthState(FOLDER, { masterKey: KEY, previousMasterKeys: [OLD_KEY], logger });
      await result.saveCreds();
      await result.state.keys.set({ 'pre-key': { 1: { public: Buffer.from('c0ffee11', 'hex'), private: Buffer.from('c0ffee11', 'hex') } } });
      await result.state.keys.get('pre-key', ['1']);
      look('store', result.store);
      look('saveCreds', result.saveCreds);
      look('state.keys', result.state.keys);
      look('the whole', result);
      await result.store.close();
      look('the closed store', result.store);
    `;
    assert.deepEqual(await shownBy(t, open, { FOLDER }), []);
  });

  it('are in no error', async (t) => {
    const FOLDER = join(await makeFolder(t), 'auth');
    const open = `
      const { saveCreds, store } = await vault.useMultiFileAuthState(FOLDER, { masterKey: KEY, logger });
      await saveCreds();
      await store.close();
      await saveCreds().catch((error) => look('CLOSED', error));
      await vault.useMultiFileAuthState(FOLDER, { masterKey: OLD_KEY, logger }).then(
        () => { throw new Error('opened with another key'); },
        (error) => look('ENCRYPTION_FAILED', error),
      );
      await vault.useMultiFileAuthState(FOLDER, { masterKey: KEY + KEY, logger }).catch((error) => look('CONFIG_INVALID', error));
      await vault.useRedisAuthState({ sessionId: 's', masterKey: KEY, logger, openTimeout: 0, redis: { redisUrl: 'redis://bot:' + PASSWORD + '@127.0.0.1:1' } })
        .then(() => { throw new Error('opened'); }, (error) => look('STORAGE_UNAVAILABLE', error));
      await vault.useMongoAuthState({ sessionId: 's', masterKey: KEY, logger, resilience: { operationTimeout: 500 }, mongodb: { mongoUrl: 'mongodb://bot:' + PASSWORD + '@127.0.0.1:1/db' } })
        .then(() => { throw new Error('opened'); }, (error) => look('STORAGE_UNAVAILABLE', error));
    `;
    assert.deepEqual(await shownBy(t, open, { FOLDER }), []);
  });
});

describeWith(['redis', 'mongo'], 'secrets of stores on servers', () => {
  it('are in nothing that hooks and stores give', async (t) => {
    const open = `
      const url = REDIS.replace('redis://', 'redis://default:' + PASSWORD + '@');
      const hooks = {
        redis: () => vault.useRedisAuthState({ sessionId: 'secrets-' + process.pid, masterKey: KEY, logger, redis: { redisUrl: REDIS } }),
        mongodb: () => vault.useMongoAuthState({ sessionId: 'secrets-' + process.pid, masterKey: KEY, logger, mongodb: { mongoUrl: MONGO, database: 'secrets' } }),
        hybrid: () => vault.useHybridAuthState({ sessionId: 'secrets-' + process.pid, masterKey: KEY, logger, hybrid: { redisUrl: REDIS, mongoUrl: MONGO, mongoDatabase: 'secrets' } }),
      };
      for (const [name, hook] of Object.entries(hooks)) {
        const result = await hook();
        await result.saveCreds();
        look(name, result.store);
        look(name + ' keys', result.state.keys);
        await result.store.delete('secrets-' + process.pid);
        await result.store.close();
      }
      const crypto = await vault.createCryptoService(vault.DEFAULT_SECURITY_CONFIG, KEY);
      await crypto.rotateKey(OLD_KEY);
      const codec = vault.createCodecService(vault.DEFAULT_SECURITY_CONFIG);
      look('crypto', crypto);
      look('codec', codec);
      const one = new vault.RedisAuthStore({ redisUrl: url }, crypto, codec);
      const two = new vault.MongoAuthStore({ mongoUrl: 'mongodb://bot:' + PASSWORD + '@127.0.0.1:1/db' }, crypto, codec);
      look('RedisAuthStore', one);
      look('MongoAuthStore', two);
      look('HybridAuthStore', new vault.HybridAuthStore(one, two, { mongoUrl: MONGO, masterKey: OLD_KEY }));
    `;
    const [REDIS, MONGO] = await Promise.all([sharedRedis(), sharedMongo()]);
    assert.deepEqual(await shownBy(t, open, { REDIS, MONGO }), []);
  });
});
