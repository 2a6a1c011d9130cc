/**
 * A bot whose server is emptied while it runs, and which calls the hook again, as every reconnect handler does:
 * `node emptied.mjs <place as JSON>`. Says `kept` when no new identity was made before the bot asked for one.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import { open } from '../../servers/open.mjs';

const place = { ...JSON.parse(process.argv[2]), lockTtl: 1 };
const ID = 'bot';
const LOST = { code: 'SESSION_LOST', sessionId: ID };

async function empty() {
  if (place.redisUrl !== undefined) {
    const redis = new Redis(place.redisUrl);
    await redis.flushall();
    await redis.quit();
    return;
  }
  const client = await MongoClient.connect(place.mongoUrl);
  await client.db(place.database).dropDatabase();
  await client.close();
}

/** Everything the server holds, as text. */
async function held() {
  if (place.redisUrl !== undefined) {
    const redis = new Redis(place.redisUrl);
    const keys = await redis.keys('*');
    const fields = await Promise.all(
      keys.map(async (key) => ((await redis.type(key)) === 'hash' ? redis.hkeys(key) : [])),
    );
    await redis.quit();
    return fields.flat().join(' ');
  }
  const client = await MongoClient.connect(place.mongoUrl);
  const db = client.db(place.database);
  const collections = await db.collections();
  const found = await Promise.all(collections.map((one) => one.find({}).toArray()));
  await client.close();
  return JSON.stringify(found);
}

const options = { openTimeout: 5_000 };
const first = await open(place, ID, options);
const identity = first.state.creds.advSecretKey;
await first.saveCreds();
await first.state.keys.set({ session: { contact: { n: 1 } } });

await empty();
// Until the store has noticed, which a renewal of its lease does at the latest.
const deadline = Date.now() + 60_000;
for (;;) {
  const outcome = await first.state.keys.set({ session: { contact: { n: 2 } } }).then(
    () => assert.fail('a write over nothing was acknowledged'),
    (error) => error,
  );
  if (outcome.code === 'SESSION_LOST') {
    break;
  }
  assert.ok(outcome.retryable && Date.now() < deadline, String(outcome));
  await sleep(50);
}

async function refusesAll(store, when) {
  await assert.rejects(open(place, ID, options), LOST, `the hook, ${when}`);
  await assert.rejects(store.get(ID), LOST, `get, ${when}`);
  await assert.rejects(store.exists(ID), LOST, `exists, ${when}`);
  await assert.rejects(store.set(ID, { keys: { session: { planted: { n: 3 } } } }), LOST, `set, ${when}`);
  await assert.rejects(store.rotateKey(ID), LOST, `rotateKey, ${when}`);
  assert.doesNotMatch(await held(), /creds|planted/, when);
}

await assert.rejects(first.state.keys.get('session', ['contact', 'absent']), LOST);
await refusesAll(first.store, 'beside the first handle');
const { store } = await open(place, 'second', options);
await first.store.close();
await refusesAll(store, 'after it was closed');
await store.close();
// No store of the process is open any more.
await assert.rejects(open(place, ID, options), LOST);
const last = await open(place, 'second', options);
await refusesAll(last.store, 'in a store opened anew');

await last.store.delete(ID);
const anew = await open(place, ID, options);
assert.notEqual(anew.state.creds.advSecretKey, identity);
await anew.saveCreds();
await anew.store.close();
const again = await open(place, ID, options);
assert.equal(again.state.creds.advSecretKey, anew.state.creds.advSecretKey);
await again.store.close();
await last.store.close();
process.stdout.write('kept\n');
