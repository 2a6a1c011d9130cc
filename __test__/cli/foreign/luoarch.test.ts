/** Sessions that the real `@luoarch/baileys-store-core` has written, in each of its formats. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import { useHybridAuthState } from '../../../dist/index.js';
import { makeFolder } from '../../situations/support.js';
import { describeWith, type Server, startMongo, startRedis } from '../../support/services.js';
import { json, KEY, type MadeSession, makeSession, OLD_KEY, refused } from '../support.js';
import type { LuoarchStore, Options, Place, Security } from './luoarch.mjs' with {
  'resolution-mode': 'import',
};
import { plain } from './plain.js';

const DATABASE = 'whatsapp';
const COLLECTION = 'sessions';
const VAULT = { BAILEYS_VAULT_MASTER_KEY: KEY };
const SEALED: Security = { encryption: 'secretbox', compression: 'snappy' };
const FORMATS: Security[] = [
  {},
  { compression: 'snappy' },
  { compression: 'gzip' },
  { encryption: 'secretbox' },
  SEALED,
  { encryption: 'secretbox', compression: 'gzip' },
  { encryption: 'aes-256-gcm', compression: 'snappy' },
  { encryption: 'aes-256-gcm', compression: 'gzip' },
];

const packages = mkdtempSync(join(tmpdir(), 'luoarch-'));
after(() => rmSync(packages, { recursive: true, force: true }));

/** A store of the package; null where it cannot be had, and the test is skipped. */
async function open(t: TestContext, options: Options): Promise<LuoarchStore | null> {
  const { fetchLuoarch, openLuoarch } = await import('./luoarch.mjs');
  if (!fetchLuoarch(packages)) {
    assert.notEqual(process.env.CI, 'true', 'no package registry');
    t.skip('@luoarch/baileys-store-core cannot be fetched: no package registry');
    return null;
  }
  const store = await openLuoarch(packages, options);
  t.after(() => store.disconnect());
  return store;
}

/** What a bot finds that opens a session of an embedded store. */
async function opened(t: TestContext, path: string, sessionId: string, like: MadeSession) {
  const { state, store } = await useHybridAuthState({ sessionId, embedded: { path }, masterKey: KEY });
  t.after(() => store.close());
  const keys: MadeSession['keys'] = {};
  for (const [type, records] of Object.entries(like.keys)) {
    keys[type] = (await state.keys.get(type as 'session', Object.keys(records))) as Record<string, unknown>;
  }
  return { creds: state.creds, keys };
}

interface Backend {
  name: string;
  service: 'redis' | 'ownMongo';
  start(): Promise<Server>;
  place(url: string): Place;
  address(url: string): string;
}

const BACKENDS: readonly Backend[] = [
  {
    name: 'Redis',
    service: 'redis',
    start: () => startRedis(),
    place: (url) => ({ redisUrl: url }),
    address: (url) => `luoarch-${url}`,
  },
  {
    name: 'MongoDB',
    service: 'ownMongo',
    start: () => startMongo(),
    place: (url) => ({ mongoUrl: url, databaseName: DATABASE, collectionName: COLLECTION }),
    address: (url) => `luoarch-${url}/?databaseName=${DATABASE}`,
  },
];

for (const { name, service, start, place, address } of BACKENDS) {
  describeWith([service], `a store of baileys-store-core in ${name}`, () => {
    let server: Server;
    before(async () => {
      server = await start();
    });
    after(() => server.stop());

    for (const security of FORMATS) {
      const format = [security.encryption ?? 'plain', security.compression ?? 'not packed'].join(', ');
      it(`is copied by value: ${format}`, async (t) => {
        const store = await open(t, { place: place(server.url), security, masterKey: OLD_KEY });
        if (store === null) {
          return;
        }
        const sessionId = `${service}:${format}`;
        const session = await makeSession(20);
        session.keys['bridge-of-tomorrow'] = { one: { bytes: new Uint8Array([0, 1, 255]) } };
        await store.set(sessionId, session);
        const from = address(server.url);
        const key: Record<string, string> =
          security.encryption === undefined ? {} : { BAILEYS_VAULT_FROM_MASTER_KEY: OLD_KEY };
        const env = { ...VAULT, ...key, BAILEYS_VAULT_TO_MASTER_KEY: KEY };
        const vault = join(await makeFolder(t), 'vault');
        const { copied } = await json<{ copied: number }>(
          t,
          ['copy', sessionId, '--from', from, '--to', vault],
          { env: key.BAILEYS_VAULT_FROM_MASTER_KEY ? env : { BAILEYS_VAULT_TO_MASTER_KEY: KEY } },
        );
        assert.equal(copied, 1);
        const expected = structuredClone(session.keys['bridge-of-tomorrow'].one) as { bytes: Uint8Array };
        session.keys['bridge-of-tomorrow'].one = { bytes: Buffer.from(expected.bytes) };
        assert.deepEqual(plain(await opened(t, vault, sessionId, session)), plain(session));
      });
    }

    it('is listed, shown, verified and examined', async (t) => {
      const store = await open(t, { place: place(server.url), security: SEALED, masterKey: OLD_KEY });
      if (store === null) {
        return;
      }
      const session = await makeSession(10);
      await store.set('shown', session, 6);
      const env = { BAILEYS_VAULT_MASTER_KEY: OLD_KEY };
      const from = ['--store', address(server.url)];
      const { sessions } = await json<{ sessions: { sessionId: string }[] }>(t, ['list', ...from], { env });
      assert.ok(sessions.some(({ sessionId }) => sessionId === 'shown'));
      const shown = await json<{ version: number; account: { id: string } }>(t, ['show', 'shown', ...from], {
        env,
      });
      assert.deepEqual([shown.version, shown.account.id], [7, (session.creds.me as { id: string }).id]);
      const { findings } = await json<{ findings: { code: string }[] }>(t, ['doctor', 'shown', ...from], {
        env,
      });
      // What the made session lacks, and nothing of how it is stored.
      assert.deepEqual(
        findings.map(({ code }) => code),
        ['PREKEY_CURRENT_MISSING', 'APP_STATE_KEY_MISSING'],
      );
    });

    it('is not opened by another key, and never a new session', async (t) => {
      const store = await open(t, { place: place(server.url), security: SEALED, masterKey: OLD_KEY });
      if (store === null) {
        return;
      }
      await store.set('locked', await makeSession());
      const show = ['show', 'locked', '--store', address(server.url)];
      const wrong = await refused(t, 6, 'ENCRYPTION_FAILED', show, { env: VAULT });
      assert.match(wrong.message, /of "locked" is sealed.*no key that was given opens it/);
      const none = await refused(t, 6, 'ENCRYPTION_FAILED', show);
      assert.match(none.message, /no master key was given/);
      const rotated = { BAILEYS_VAULT_MASTER_KEY: KEY, BAILEYS_VAULT_PREVIOUS_MASTER_KEYS: OLD_KEY };
      await json(t, show, { env: rotated });
      await refused(t, 3, 'SESSION_NOT_FOUND', ['show', 'absent', '--store', address(server.url)], {
        env: rotated,
      });
    });

    it('whose key is a passphrase opens by what the package makes of it', async (t) => {
      const masterKey = 'c0ffee';
      const store = await open(t, { place: place(server.url), security: SEALED, masterKey });
      if (store === null) {
        return;
      }
      await store.set('short-key', await makeSession());
      const derived = createHash('sha256').update(Buffer.from(masterKey, 'hex')).digest('hex');
      await json(t, ['show', 'short-key', '--store', address(server.url)], {
        env: { BAILEYS_VAULT_MASTER_KEY: derived },
      });
    });
  });
}

describeWith(['redis'], 'a store of baileys-store-core in Redis of which a part is gone', () => {
  it('is an error that names the part', async (t) => {
    const server = await startRedis();
    t.after(() => server.stop());
    const store = await open(t, { place: { redisUrl: server.url }, security: SEALED, masterKey: OLD_KEY });
    if (store === null) {
      return;
    }
    const redis = new Redis(server.url);
    t.after(() => redis.disconnect());
    const address = `luoarch-${server.url}`;
    const show = async (code: 'CORRUPT_RECORD' | 'ENCRYPTION_FAILED', expected: RegExp) => {
      const env = { BAILEYS_VAULT_MASTER_KEY: OLD_KEY };
      const { message } = await refused(t, 6, code, ['show', 'bot', '--store', address], { env });
      assert.match(message, expected);
    };
    const key = (part: string): string => `baileys:auth:bot:${part}`;
    const anew = async (): Promise<void> => void (await store.set('bot', await makeSession()));
    await anew();
    await redis.del(key('creds'));
    await show('CORRUPT_RECORD', /baileys:auth:bot:creds.*missing beside \d+ keys/);
    await redis.del(key('keys'));
    await show('CORRUPT_RECORD', /baileys:auth:bot:creds.*missing/);
    await anew();
    await redis.del(key('keys'));
    await show('CORRUPT_RECORD', /baileys:auth:bot:keys.*missing beside the credentials of a paired account/);
    await anew();
    const creds = JSON.parse((await redis.get(key('creds'))) as string) as Record<string, string>;
    await redis.set(key('creds'), JSON.stringify({ ...creds, ciphertext: creds.ciphertext?.slice(0, -8) }));
    await show('CORRUPT_RECORD', /baileys:auth:bot:creds.*changed since it was sealed, or is not whole/);
    await redis.set(key('creds'), JSON.stringify({ ...creds, keyId: '0123456789abcdef' }));
    await show('ENCRYPTION_FAILED', /sealed by the key 0123456789abcdef/);
    await redis.set(key('creds'), '{"ciphertext":');
    await show('CORRUPT_RECORD', /baileys:auth:bot:creds/);
    await redis.del(key('creds'));
    await redis.hset(key('creds'), 'x', 'y');
    await show('CORRUPT_RECORD', /baileys:auth:bot:creds/);
  });
});

describeWith(['ownMongo'], 'a store of baileys-store-core in MongoDB of which a part is gone', () => {
  it('is an error that names the part', async (t) => {
    const server = await startMongo();
    t.after(() => server.stop());
    const place = { mongoUrl: server.url, databaseName: DATABASE, collectionName: COLLECTION };
    const store = await open(t, { place, security: SEALED, masterKey: OLD_KEY });
    if (store === null) {
      return;
    }
    const client = await MongoClient.connect(server.url);
    t.after(() => client.close());
    const sessions = client.db(DATABASE).collection<{ _id: string }>(COLLECTION);
    const address = `luoarch-${server.url}/?databaseName=${DATABASE}`;
    const env = { BAILEYS_VAULT_MASTER_KEY: OLD_KEY };
    for (const [change, code, expected] of [
      [{ $unset: { creds: '' } }, 'CORRUPT_RECORD', /creds.*missing beside \d+ keys/],
      [{ $unset: { keys: '' } }, 'CORRUPT_RECORD', /keys.*missing beside the credentials/],
      [{ $set: { creds: 'AAAA' } }, 'ENCRYPTION_FAILED', /creds of "bot" is sealed/],
      [{ $set: { 'keys.session': 7 } }, 'CORRUPT_RECORD', /keys\.session.*expected a text/],
    ] as const) {
      await sessions.deleteMany({});
      await store.set('bot', await makeSession());
      await sessions.updateOne({ _id: 'bot' }, change);
      const { message } = await refused(t, 6, code, ['show', 'bot', '--store', address], { env });
      assert.match(message, expected);
    }
    await client.db(DATABASE).collection('others').insertOne({ version: 1, updatedAt: 1, expiresAt: 1 });
    await json(t, ['list', '--store', address], { env });
  });
});
