/** What happens to acknowledged writes while servers, connections and processes fail; prints a table at the end. */
import assert from 'node:assert/strict';
import { after, afterEach, before, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const SESSIONS = 20;
/** Longer than any operation with its retries. */
const OUTAGE_MS = 4_000;

interface Row {
  readonly fault: string;
  readonly mode: string;
  readonly acknowledged: number;
  readonly lost: number;
  readonly longestWait: number;
  readonly failures: Record<string, number>;
}

describeWith(['redis', 'ownMongo'], 'faults', () => {
  let redis: Server;
  let mongo: Server;
  let redisProxy: FaultProxy;
  let mongoProxy: FaultProxy;
  let operationTimeout = 0;
  const rows: Row[] = [];

  before(async () => {
    redis = await startRedis({ persist: true });
    mongo = await startMongo();
    redisProxy = await startProxy(redis.port);
    mongoProxy = await startProxy(mongo.port);
    operationTimeout = (await opening()).OPERATION_TIMEOUT;
  });

  // A case that failed halfway is not to take the others with it.
  afterEach(async () => {
    for (const server of [redis, mongo]) if (!server.running) await server.restart();
    for (const proxy of [redisProxy, mongoProxy]) {
      proxy.delay(0);
      await proxy.heal();
    }
  });

  after(async () => {
    await Promise.all([redisProxy.close(), mongoProxy.close()]);
    await Promise.all([redis.stop(), mongo.stop()]);
    const text = rows.map(
      ({ fault, mode, acknowledged, lost, longestWait, failures }) =>
        `${fault} | ${mode} | ${acknowledged} | ${lost} | ${longestWait} | ${JSON.stringify(failures)}`,
    );
    console.log(['fault | mode | acknowledged | lost | longest wait, ms | refused', ...text].join('\n'));
  });

  const direct = (mode: Mode): Place => ({
    mode,
    redisUrl: redis.url,
    mongoUrl: mongo.url,
    database: 'faults',
  });

  const proxied = (mode: Mode): Place => ({
    ...direct(mode),
    redisUrl: `redis://${redisProxy.host}:${redisProxy.port}`,
    mongoUrl: mongo.url.replace(`:${mongo.port}`, `:${mongoProxy.port}`),
  });

  async function start(t: TestContext, places: Place[]): Promise<Load[]> {
    const loads: Load[] = [];
    // One after the other: opening all at once takes a small machine longer than an operation may.
    for (const place of places) loads.push(await Load.start(t, place, { sessions: SESSIONS }));
    return loads;
  }

  const goOn = (loads: Load[]): Promise<unknown> => Promise.all(loads.map((load) => load.goesOn()));

  /** What has to hold after every fault; `loads` are stopped or dead. */
  async function settle(fault: string, loads: Load[]): Promise<void> {
    for (const load of loads) {
      // The servers themselves, whatever was put in between.
      const lost = await load.countLost(direct(load.place.mode));
      const { acknowledged, longestWait } = load;
      rows.push({ fault, mode: load.place.mode, acknowledged, lost, longestWait, failures: load.codes() });
      load.expectTyped();
      assert.equal(lost, 0, `${load.place.mode}: acknowledged writes are gone`);
      assert.ok(longestWait <= 3 * operationTimeout, `${load.place.mode}: a write took ${longestWait} ms`);
    }
  }

  async function stopAll(loads: Load[]): Promise<void> {
    for (const load of loads) {
      // The answer to giving back a lease may come too late on a busy server; the next owner waits a little then.
      const complaints = (await load.stop()).filter((complaint) => !complaint.endsWith('TIMEOUT'));
      assert.deepEqual(complaints, []);
    }
  }

  async function withRedis(work: (client: Redis) => Promise<unknown>): Promise<void> {
    const client = new Redis(redis.url);
    try {
      await work(client);
    } finally {
      client.disconnect();
    }
  }

  it('Redis is killed and comes back with its data', async (t) => {
    const loads = await start(t, [direct('redis'), direct('write-through'), direct('write-behind')]);
    await redis.kill();
    await sleep(OUTAGE_MS / 2);
    await redis.restart();
    await goOn(loads);
    await stopAll(loads);
    await settle('Redis killed, back with its data', loads);
  });

  it('Redis is killed and comes back empty, in front of MongoDB', async (t) => {
    const loads = await start(t, [direct('write-through'), direct('write-behind')]);
    await redis.kill();
    await redis.restart({ wipe: true });
    await goOn(loads);
    await stopAll(loads);
    await settle('Redis killed, back empty', loads);
  });

  it('Redis is killed and comes back empty, as the only copy: nothing is made anew', async (t) => {
    const [load] = (await start(t, [direct('redis')])) as [Load];
    await redis.kill();
    await redis.restart({ wipe: true });
    const refused = () =>
      new Set(
        load.failures
          .filter(({ code }) => code === 'SESSION_LOST' || code === 'FENCED')
          .map(({ session }) => session),
      ).size;
    await load.until('every session is refused', () => refused() === SESSIONS);
    const { acknowledged } = load;
    const seen = load.failures.length;
    await load.until('more is refused', () => load.failures.length > seen + SESSIONS);
    assert.equal(
      load.acknowledged,
      acknowledged,
      'a write was acknowledged on a server that lost the session',
    );
    await load.stop();
    load.expectTyped();
    assert.ok(load.longestWait <= 3 * operationTimeout, `a write took ${load.longestWait} ms`);
    await withRedis(async (client) =>
      assert.equal(await client.hexists(`bv:{${load.sessions[0]}}`, 'creds'), 0),
    );
  });

  it('MongoDB is away for longer than any operation is tried', async (t) => {
    const loads = await start(t, [
      direct('mongo'),
      direct('write-through'),
      direct('outbox'),
      direct('write-behind'),
    ]);
    const [alone, through, outbox, behind] = loads as [Load, Load, Load, Load];
    await mongo.kill();
    await Promise.all([
      sleep(OUTAGE_MS),
      outbox.goesOn('it goes on without MongoDB'),
      behind.goesOn('it goes on without MongoDB'),
    ]);
    await alone.until('writes are refused', () => alone.failures.length > 0);
    await through.until('writes are refused', () => through.failures.length > 0);
    assert.deepEqual(behind.codes(), {});
    await mongo.restart();
    await goOn(loads);
    await stopAll(loads);
    await settle('MongoDB away', loads);
  });

  it('both servers are away', async (t) => {
    const loads = await start(t, [direct('write-through'), direct('write-behind')]);
    await Promise.all([redis.kill(), mongo.kill()]);
    await sleep(OUTAGE_MS);
    for (const load of loads) await load.until('writes are refused', () => load.failures.length > SESSIONS);
    await Promise.all([redis.restart(), mongo.restart()]);
    await goOn(loads);
    await stopAll(loads);
    await settle('both away', loads);
  });

  it('every answer is 500 ms late', async (t) => {
    const loads = await start(t, [
      proxied('redis'),
      proxied('mongo'),
      proxied('write-through'),
      proxied('write-behind'),
    ]);
    redisProxy.delay(500);
    mongoProxy.delay(500);
    await sleep(OUTAGE_MS);
    await goOn(loads);
    redisProxy.delay(0);
    mongoProxy.delay(0);
    await goOn(loads);
    await stopAll(loads);
    await settle('500 ms late', loads);
  });

  it('every connection is cut, again and again', async (t) => {
    const loads = await start(t, [
      proxied('redis'),
      proxied('mongo'),
      proxied('write-through'),
      proxied('write-behind'),
    ]);
    for (let cut = 0; cut < 10; cut++) {
      redisProxy.cutAll();
      mongoProxy.cutAll();
      await sleep(Math.random() * 300);
    }
    await goOn(loads);
    await stopAll(loads);
    await settle('connections cut', loads);
  });

  it('all that Redis holds is evicted, in front of MongoDB', async (t) => {
    const loads = await start(t, [direct('write-through'), direct('write-behind')]);
    for (let flush = 0; flush < 5; flush++) {
      await withRedis((client) => client.flushall());
      await sleep(200);
    }
    await goOn(loads);
    await stopAll(loads);
    await settle('Redis evicts all', loads);
  });

  it('a process dies with writes that MongoDB does not have', async (t) => {
    const loads = await start(t, [direct('outbox'), direct('write-behind')]);
    await mongo.kill();
    await goOn(loads);
    for (const load of loads) await load.crash();
    await mongo.restart();
    await settle('died while MongoDB was away', loads);
  });

  it('a process dies while Redis and MongoDB are there', async (t) => {
    const loads = await start(t, [
      direct('redis'),
      direct('mongo'),
      direct('write-through'),
      direct('write-behind'),
    ]);
    await sleep(500);
    for (const load of loads) await load.crash();
    await settle('process killed', loads);
  });

  for (const mode of ['redis', 'mongo', 'write-through', 'write-behind'] as const) {
    it(`a process sleeps through the end of its lease: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const place = { ...direct(mode), lockTtl: 1 };
      const load = await Load.start(t, place, { sessions: 1, openTimeout: 1_000 });
      const [session] = load.sessions as [string];
      load.signal('SIGSTOP');
      const { state, store } = await open(place, session);
      const { acknowledged } = load;
      await state.keys.set({ session: { later: { seq: 1 } as never } });
      const before = await store.get(session);
      load.signal('SIGCONT');
      const fenced = () =>
        load.failures.some(({ name, code }) => name === 'FencedError' && code === 'FENCED');
      await load.until('its writes are refused', fenced);
      await load.until('it hears that its lease is lost', () => load.lost.has(session));
      load.tell('delete');
      await load.until('its delete is refused', () => load.deleted.has(session));
      assert.deepEqual(
        { lost: load.lost.get(session), deleted: load.deleted.get(session) },
        // Deleting without owning is trying to own first.
        { lost: 'FENCED', deleted: 'SESSION_BUSY' },
      );
      await load.stop();
      assert.deepEqual(await state.keys.get('session', ['later']), { later: { seq: 1 } });
      assert.equal((await store.get(session))?.version, before?.version);
      // At most the write whose answer was on its way when the process was stopped.
      assert.ok(load.acknowledged <= acknowledged + 1);
      await store.close();
      await settle('owner slept', [load]);
    });
  }

  for (const mode of ['redis', 'mongo', 'write-through', 'write-behind'] as const) {
    it(`the connection is cut when a write was carried out and before it is answered: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const session = `cut-${process.pid}-${mode}`;
      const { state, store } = await open(proxied(mode), session);
      t.after(() => store.close());
      await state.keys.set({ session: { first: { n: 0 } as never } });
      const start = (await store.get(session))?.version ?? 0;
      const proxy = mode === 'mongo' || mode === 'write-through' ? mongoProxy : redisProxy;
      let commits = 0;
      let longestWait = 0;
      for (let cut = 1; cut <= 5; cut++) {
        proxy.cutAfterRequest(`pre-keycut${cut}`);
        // While Redis is held for away, the hybrid store writes to MongoDB: then the cut comes with a later write.
        do {
          const began = performance.now();
          await state.keys.set({ 'pre-key': { [`cut${cut}`]: { n: cut } as never } });
          longestWait = Math.max(longestWait, Math.round(performance.now() - began));
          commits++;
          assert.equal((await store.get(session))?.version, start + commits, 'each write is applied once');
          await sleep(50);
        } while (proxy.pendingFaults > 0);
      }
      const found = await state.keys.get('pre-key', ['cut1', 'cut5']);
      assert.deepEqual(found, { cut1: { n: 1 }, cut5: { n: 5 } });
      rows.push({ fault: 'answer cut off', mode, acknowledged: commits, lost: 0, longestWait, failures: {} });
    });
  }

  after(async () => {
    if (!mongo.running) return;
    const client = new MongoClient(mongo.url);
    await client.db('faults').dropDatabase();
    await client.close();
  });
});
