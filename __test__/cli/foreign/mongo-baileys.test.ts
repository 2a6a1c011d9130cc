/** Sessions that the real `mongo-baileys` has written: what it keeps is copied by value, what it loses is named. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { type Db, MongoClient } from 'mongodb';
import { useHybridAuthState } from '../../../dist/index.js';
import { makeFolder } from '../../situations/support.js';
import { describeWith, type Server, startMongo } from '../../support/services.js';
import { cli, json, KEY, type MadeSession, makeSession, refused } from '../support.js';
import { plain } from './plain.js';
import { loadMongoBaileys, writeMongoBaileys } from './writers.js';

const SEALED = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
const DATABASE = 'whatsapp';
/** Of what the tests' session holds, what is an object by itself and so is kept. */
const KEPT = ['app-state-sync-key', 'app-state-sync-version', 'pre-key', 'session', 'tctoken'];
const LOST = ['device-list', 'identity-key', 'lid-mapping', 'sender-key'];

describeWith(['ownMongo'], 'a store of mongo-baileys', () => {
  let server: Server;
  let client: MongoClient;
  let db: Db;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'mongo-baileys-'));
    server = await startMongo();
    client = await MongoClient.connect(server.url);
    db = client.db(DATABASE);
  });
  after(async () => {
    await client.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const address = (): string => `mongo-baileys:${server.url}/${DATABASE}`;

  /** A session in a collection of its own; null where the package cannot be had, and the test is skipped. */
  async function write(t: TestContext, collection: string): Promise<MadeSession | null> {
    const use = await loadMongoBaileys(folder);
    if (use === undefined) {
      assert.notEqual(process.env.CI, 'true', 'no package registry');
      t.skip('mongo-baileys cannot be fetched: no package registry');
      return null;
    }
    await db.dropDatabase();
    const session = await makeSession(10);
    const printed = await writeMongoBaileys(use, server.url, DATABASE, collection, session);
    assert.ok(printed.length > 0, 'the library loses nothing any more: say so in the guide');
    return session;
  }

  it('is copied by value, as far as the library keeps it, and says what it has lost', async (t) => {
    const session = await write(t, 'bot-1');
    if (session === null) {
      return;
    }
    const vault = join(await makeFolder(t), 'vault');
    const { code, stdout, stderr } = await cli(t, ['import', address(), '--store', vault, '--json'], SEALED);
    assert.equal(code, 0, stderr);
    const { copied, types } = JSON.parse(stdout) as { copied: number; types: Record<string, unknown> };
    assert.deepEqual([copied, Object.keys(types).sort()], [1, [...KEPT, 'creds'].sort()]);
    for (const type of [...LOST, 'sender-key-memory']) {
      assert.match(stderr, new RegExp(`\\b${type}\\b`));
    }
    assert.equal(
      stderr.split('\n').filter((line) => line.includes('mongo-baileys stores neither')).length,
      1,
    );

    const { state, store } = await useHybridAuthState({
      sessionId: 'bot-1',
      embedded: { path: vault },
      masterKey: KEY,
    });
    t.after(() => store.close());
    // The library has made some more of its own.
    const ours = Object.entries(state.creds).filter(([name]) => Object.hasOwn(session.creds, name));
    const creds = Object.fromEntries(ours);
    // A message of protobuf would be JSON in its own way.
    const account = { ...(session.creds.account as object) };
    assert.deepEqual(plain(creds), plain({ ...session.creds, account }));
    for (const type of KEPT.filter((type) => type !== 'app-state-sync-key')) {
      const records = session.keys[type] as Record<string, unknown>;
      const found = await state.keys.get(type as 'session', Object.keys(records));
      assert.deepEqual(plain(found), plain(records), type);
    }
    const keys = session.keys['app-state-sync-key'] as Record<string, { keyData: Uint8Array }>;
    const found = await state.keys.get('app-state-sync-key', Object.keys(keys));
    for (const [id, { keyData }] of Object.entries(keys)) {
      assert.deepEqual(Buffer.from(found[id]?.keyData as Uint8Array), Buffer.from(keyData));
    }
  });

  it('is examined by doctor, which names what is lost under a code', async (t) => {
    if ((await write(t, 'bot-1')) === null) {
      return;
    }
    const { findings } = await json<{ findings: { code: string }[] }>(t, ['doctor', '--store', address()]);
    const codes = findings.map(({ code }) => code);
    assert.equal(codes.filter((code) => code === 'LIBRARY_LOSES_RECORDS').length, 1, codes.join());
  });

  it('has a session in each collection of its kind, and none in others', async (t) => {
    if ((await write(t, 'bot-1')) === null) {
      return;
    }
    await db.collection('messages').insertOne({ text: 'hello' });
    await db.collection<{ _id: string }>('lost').insertOne({ _id: 'pre-key-1' });
    const { sessions } = await json<{ sessions: unknown[] }>(t, ['list', '--store', address()]);
    assert.deepEqual(sessions, [{ sessionId: 'bot-1' }, { sessionId: 'lost' }]);
    const only = `mongo-baileys:${server.url}/?databaseName=${DATABASE}&collectionName=bot-1`;
    assert.deepEqual((await json<{ sessions: unknown[] }>(t, ['list', '--store', only])).sessions, [
      { sessionId: 'bot-1' },
    ]);
    const { message } = await refused(t, 6, 'CORRUPT_RECORD', ['show', 'lost', '--store', address()]);
    assert.match(message, /auth_creds.*missing beside 1 keys/);
  });

  it('whose creds are damaged is an error that names them', async (t) => {
    if ((await write(t, 'bot-1')) === null) {
      return;
    }
    const bot = db.collection<{ _id: string }>('bot-1');
    for (const [change, expected] of [
      [{ $unset: { 'creds.noiseKey.private': '' } }, /auth_creds.*creds\.noiseKey\.private/],
      [{ $set: { creds: 'x' } }, /auth_creds.*no field creds/],
    ] as const) {
      await bot.updateOne({ _id: 'auth_creds' }, change);
      const { message } = await refused(t, 6, 'CORRUPT_RECORD', ['show', '--store', address()]);
      assert.match(message, expected);
    }
  });

  it('must name its database', async (t) => {
    const { message } = await refused(t, 2, 'USAGE', ['list', '--store', `mongo-baileys:${server.url}`]);
    assert.match(message, /does not name the database/);
  });
});
