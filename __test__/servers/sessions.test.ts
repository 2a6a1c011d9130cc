/** One session on servers: many writes at once, several processes, and what the servers get to see. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, it } from 'node:test';
import { Redis } from 'ioredis';
import { BSON, MongoClient } from 'mongodb';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const MODES = ['redis', 'mongo', 'write-through', 'write-behind'] as const;
const WRITES = 100;

describeWith(['redis', 'ownMongo'], 'sessions on servers', () => {
  let redis: Server;
  let mongo: Server;
  let client: Redis;

  before(async () => {
    redis = await startRedis();
    mongo = await startMongo();
    client = new Redis(redis.url);
  });

  after(async () => {
    client.disconnect();
    await Promise.all([redis.stop(), mongo.stop()]);
  });

  const at = (mode: Mode): Place => ({
    mode,
    redisUrl: redis.url,
    mongoUrl: mongo.url,
    database: 'sessions',
  });

  /** Script calls that Redis has carried out. */
  async function scriptCalls(): Promise<number> {
    const info = await client.info('commandstats');
    const calls = /cmdstat_(?:evalsha|eval):calls=(\d+)/g;
    return [...info.matchAll(calls)].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  for (const mode of MODES) {
    it(`${WRITES} writes at once are all kept: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const session = `many-${mode}`;
      const { state, store } = await open(at(mode), session);
      await state.keys.set({ session: { first: { n: 0 } as never } });
      const start = (await store.get(session))?.version ?? 0;
      const callsBefore = await scriptCalls();
      const writes = Array.from({ length: WRITES }, (_, n) =>
        state.keys.set({ session: { latest: { n } as never }, 'pre-key': { [n]: { n } as never } }),
      );
      await Promise.all(writes);
      const calls = (await scriptCalls()) - callsBefore;
      assert.equal((await store.get(session))?.version, start + WRITES, 'a version for each write');
      await store.close();
      const again = await open(at(mode), session, { cacheBytes: 0 });
      const ids = Array.from({ length: WRITES }, (_, n) => `${n}`);
      const found = await again.state.keys.get('pre-key', ids);
      assert.deepEqual(found, Object.fromEntries(ids.map((id, n) => [id, { n }])));
      assert.deepEqual(await again.state.keys.get('session', ['latest']), { latest: { n: WRITES - 1 } });
      await again.store.close();
      if (mode === 'redis' || mode === 'write-behind') {
        t.diagnostic(`${calls} script calls for ${WRITES} writes`);
        assert.ok(calls >= 1 && calls <= WRITES / 2, `${calls} script calls for ${WRITES} writes`);
      }
    });
  }

  for (const mode of MODES) {
    it(`a session is handed over when the process that owns it closes: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const load = await Load.start(t, at(mode), { sessions: 1 });
      const [session] = load.sessions as [string];
      const waiting = open(at(mode), session);
      assert.deepEqual(await load.stop(), []);
      const { store } = await waiting;
      await store.close();
      assert.equal(await load.countLost(), 0);
    });
  }

  for (const mode of ['redis', 'mongo', 'write-through'] as const) {
    it(`two processes write to one session without owning it: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const place = { ...at(mode), exclusive: false };
      const load = await Load.start(t, place, { sessions: 1, pause: 10 });
      const [session] = load.sessions as [string];
      const { state, store } = await open(place, session);
      const written: string[] = [];
      for (let n = 0; n < 30; n++) {
        await state.keys.set({ 'sender-key': { [n]: { n } as never } });
        written.push(`${n}`);
      }
      await load.goesOn();
      assert.deepEqual(await load.stop(), []);
      assert.deepEqual(load.codes(), {});
      const found = await state.keys.get('sender-key', written);
      assert.equal(Object.keys(found).length, written.length);
      assert.equal((await store.get(session))?.version, load.acknowledged + written.length + 1);
      await store.close();
      assert.equal(await load.countLost(place), 0);
    });
  }

  it('servers never see a key, sealed, also in what is pending', async () => {
    for (const sealed of [true, false]) {
      const { openPatiently: open } = await opening();
      const place = { ...at('write-behind'), database: `plain_${sealed}`, sealed };
      const session = `secret-${sealed}`;
      const { state, saveCreds, store } = await open(place, session);
      await saveCreds();
      const secret = randomBytes(32);
      await mongo.kill();
      await state.keys.set({
        session: { a: { bytes: secret, text: secret.toString('hex') } as never },
        'pre-key': { 1: { public: secret, private: secret } },
      });
      const pending = await everythingIn(client, session);
      await mongo.restart();
      await store.close();
      const stored = await everythingInMongo(mongo.url, place.database);
      const { private: identity } = state.creds.signedIdentityKey;
      for (const [where, bytes] of Object.entries({ Redis: pending, MongoDB: stored })) {
        for (const key of [secret, Buffer.from(identity)]) {
          const forms = [key, key.toString('base64'), key.toString('base64url'), key.toString('hex')];
          const seen = forms.some((form) => bytes.includes(form));
          // Without sealing it is there: so the search would find it.
          assert.equal(seen, !sealed, `${where}, ${sealed ? 'sealed' : 'plain'}`);
        }
      }
    }
  });
});

/** Every byte that Redis has of a session, and the dead letters. */
async function everythingIn(client: Redis, session: string): Promise<Buffer> {
  const found: Buffer[] = [];
  for (const key of await client.keys('*')) {
    if (!key.includes(`{${session}}`) && !key.endsWith('dead-letters')) continue;
    const type = await client.type(key);
    if (type === 'hash') {
      for (const [field, value] of Object.entries(await client.hgetallBuffer(key))) {
        found.push(Buffer.from(field), value);
      }
    } else if (type === 'string') found.push((await client.getBuffer(key)) as Buffer);
    else found.push((await client.dumpBuffer(key)) as Buffer);
  }
  assert.ok(
    found.some((bytes) => bytes.length > 64),
    'Redis has nothing of this session',
  );
  return Buffer.concat(found);
}

/** Every document of a database, as the server stores it. */
async function everythingInMongo(url: string, name: string): Promise<Buffer> {
  const client = new MongoClient(url);
  try {
    const database = client.db(name);
    const found: Buffer[] = [];
    for (const { name: collection } of await database.listCollections().toArray()) {
      for (const document of await database.collection(collection).find().toArray()) {
        found.push(Buffer.from(BSON.serialize(document)));
      }
    }
    assert.ok(found.length > 0, 'MongoDB has nothing');
    return Buffer.concat(found);
  } finally {
    await client.close();
  }
}
