/** What servers get to see of keys: in records, in what is pending, in dead letters. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, it, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import { BSON, MongoClient } from 'mongodb';
import type { HybridAuthStore } from '../../lib/index.js';
import { describeWith, type Server, startMongo, startRedis, until } from '../support/services.js';
import { opening } from './load.js';
import type { Place } from './open.mjs' with { 'resolution-mode': 'import' };

/** In seconds. */
const LOCK_TTL = 1;
/** For what another process has to notice, in ms. */
const PATIENCE_MS = 60_000;

describeWith(['redis', 'ownMongo'], 'what servers see', () => {
  let redis: Server;
  let mongo: Server;
  let client: Redis;

  before(async () => {
    [redis, mongo] = await Promise.all([startRedis(), startMongo()]);
    client = new Redis(redis.url);
  });

  after(async () => {
    client.disconnect();
    await Promise.all([redis.stop(), mongo.stop()]);
  });

  for (const sealed of [true, false]) {
    // Unsealed, everything is found: so the search would find it.
    const title = sealed
      ? 'nothing of a key when records are sealed'
      : 'keys in every form when they are not';
    it(title, async (t) => {
      const { openPatiently: open, MASTER_KEY } = await opening();
      const place: Place = {
        mode: 'write-behind',
        redisUrl: redis.url,
        mongoUrl: mongo.url,
        database: `plain_${sealed}`,
        lockTtl: LOCK_TTL,
        sealed,
      };
      const session = `secret-${sealed}`;
      const secret = randomBytes(32);
      const owner = new Owner(t, { place, session, secret: secret.toString('hex') });
      const identity = Buffer.from((await owner.hears('open')) as string, 'hex');
      // They are acknowledged before MongoDB has them: killed too early, it would make a dead letter of them as well.
      await until('MongoDB has the creds', () => hasRecords(mongo.url, place.database), PATIENCE_MS);

      await mongo.kill();
      owner.tell('write');
      await owner.hears('written');
      const pending = await everythingInRedis(client);

      // The outbox is lost while its owner sleeps, and the next owner goes on without it.
      owner.signal('SIGSTOP');
      await client.flushall();
      await mongo.restart();
      const { state, store } = await open({ ...place, acceptLostOutbox: true }, session);
      await state.keys.set({ 'pre-key': { 2: { public: secret, private: secret } } });
      owner.signal('SIGCONT');
      const hybrid = store as HybridAuthStore;
      const letters = () => hybrid.getDeadLetterEntries();
      await until('there is a dead letter', async () => (await letters()).length > 0, PATIENCE_MS);
      const [letter, ...others] = await letters();
      assert.deepEqual(others, []);
      assert.equal(letter?.sessionId, session);
      // The creds were the first patch.
      assert.equal(letter.version, 2);
      assert.match(letter.reason, /owns the session/);

      const deadLetters = await everythingInRedis(client, (key) => key.endsWith(':dead-letters'));
      await hybrid.reconcileOutbox();
      const copies = await everythingInRedis(client, (key) => !key.endsWith(':dead-letters'));
      await store.close();
      const truth = await everythingInMongo(mongo.url, place.database);
      for (const [where, bytes] of Object.entries({ pending, deadLetters })) {
        assert.deepEqual(formsIn(bytes, secret), sealed ? [] : Object.keys(formsOf(secret)), where);
      }
      for (const [where, bytes] of Object.entries({ copies, truth })) {
        assert.deepEqual(formsIn(bytes, secret), sealed ? [] : ['raw'], where);
      }
      assert.deepEqual(formsIn(truth, identity), sealed ? [] : ['raw'], 'creds');
      const all = Buffer.concat([pending, deadLetters, copies, truth]);
      assert.deepEqual(formsIn(all, identity), sealed ? [] : ['raw'], 'creds');
      assert.deepEqual(formsIn(all, Buffer.from(MASTER_KEY, 'hex')), [], 'the master key');
      await client.flushall();
    });
  }
});

/** The process that owns the session first. */
class Owner {
  readonly #child;
  readonly #heard: string[] = [];

  constructor(t: TestContext, task: { place: Place; session: string; secret: string }) {
    this.#child = spawn(process.execPath, [join(__dirname, 'secret-child.mjs'), JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const closed = once(this.#child, 'close');
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#heard.push(line));
    t.after(async () => {
      this.#child.kill('SIGKILL');
      await closed;
    });
  }

  tell(word: string): void {
    this.#child.stdin.write(`${word}\n`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for a line that begins with the word; returns what follows it. */
  async hears(word: string): Promise<string | undefined> {
    const find = () => this.#heard.find((line) => line.split(' ')[0] === word);
    await until(`the owner says ${word}`, async () => find() !== undefined, PATIENCE_MS);
    return find()?.split(' ')[1];
  }
}

/** How bytes may look in a dump, whatever stands before and after them. */
function formsOf(bytes: Buffer): Record<string, Buffer> {
  const hex = bytes.toString('hex');
  const forms: Record<string, Buffer | string> = {
    raw: bytes,
    hex,
    'upper-case hex': hex.toUpperCase(),
    base64url: bytes.subarray(0, bytes.length - (bytes.length % 3)).toString('base64url'),
    numbers: [...bytes].join(','),
  };
  for (const shift of [0, 1, 2]) {
    // Three bytes become four letters: those that hold bits of the neighbours are left out.
    const whole = bytes.subarray((3 - shift) % 3);
    forms[`base64, shifted by ${shift}`] = whole
      .subarray(0, whole.length - (whole.length % 3))
      .toString('base64');
  }
  return Object.fromEntries(Object.entries(forms).map(([name, form]) => [name, Buffer.from(form)]));
}

const formsIn = (dump: Buffer, bytes: Buffer): string[] =>
  Object.entries(formsOf(bytes)).flatMap(([name, form]) => (dump.includes(form) ? [name] : []));

/** Every byte that Redis has under the keys that are wanted, names included; never what `DUMP` gives, which compresses. */
async function everythingInRedis(client: Redis, wanted = (_key: string) => true): Promise<Buffer> {
  const found: Buffer[] = [];
  const add = (values: unknown): void => {
    if (Array.isArray(values)) for (const value of values) add(value);
    else found.push(values as Buffer);
  };
  for (const key of await client.keys('*')) {
    if (!wanted(key)) continue;
    add(Buffer.from(key));
    const type = await client.type(key);
    if (type === 'hash')
      add(Object.entries(await client.hgetallBuffer(key)).map(([k, v]) => [Buffer.from(k), v]));
    else if (type === 'string') add(await client.getBuffer(key));
    else if (type === 'stream') add(await client.xrangeBuffer(key, '-', '+'));
    else assert.fail(`${key} is a ${type}, which is not searched`);
  }
  assert.ok(
    found.some((bytes) => bytes.length > 64),
    'Redis has nothing',
  );
  return Buffer.concat(found);
}

async function hasRecords(url: string, name: string): Promise<boolean> {
  const client = new MongoClient(url);
  try {
    return (await client.db(name).collection('vault_records').countDocuments()) > 0;
  } finally {
    await client.close();
  }
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
