/** One session on servers: many writes at once and several processes. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { Redis } from 'ioredis';
import { type Command, hearCommands } from '../support/mongo-wire.js';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const MODES = ['redis', 'mongo', 'write-through', 'write-behind'] as const;
const WRITES = 100;
/** The most calls that so many writes at once may take to be acknowledged. */
const FEW = 4;
/** The most updates that MongoDB may get of them until all is done, lease and all. */
const SOME = 8;
/** How late the servers' answers are meanwhile, in ms: longer than a busy machine needs to make the calls. */
const ROUND_TRIP = 150;

describeWith(['redis', 'ownMongo'], 'sessions on servers', () => {
  let redis: Server;
  let mongo: Server;
  let client: Redis;
  let redisProxy: FaultProxy;
  let mongoProxy: FaultProxy;
  /** What was sent to MongoDB through the proxy, but for what is asked of the server itself. */
  let sent: Command[] = [];

  before(async () => {
    redis = await startRedis();
    mongo = await startMongo();
    client = new Redis(redis.url);
    redisProxy = await startProxy(redis.port);
    mongoProxy = await startProxy(mongo.port);
    hearCommands(mongoProxy, (command) => {
      if (typeof command.target === 'string') sent.push(command);
    });
  });

  after(async () => {
    client.disconnect();
    await Promise.all([redisProxy.close(), mongoProxy.close()]);
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

  const remote = (mode: Mode): Place => ({
    ...at(mode),
    redisUrl: `redis://${redisProxy.host}:${redisProxy.port}`,
    mongoUrl: mongo.url.replace(`:${mongo.port}`, `:${mongoProxy.port}`),
    // No renewal of the lease among the calls that are counted.
    lockTtl: 120,
  });

  /** How many commands of each kind MongoDB was sent. */
  function tally(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { name, target } of sent) {
      const kind = `${name} ${target}`;
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    return counts;
  }

  for (const mode of MODES) {
    it(`${WRITES} writes at once are all kept, in a few round trips: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const session = `many-${mode}`;
      const { state, store } = await open(remote(mode), session);
      await state.keys.set({ session: { first: { n: 0 } as never } });
      const start = (await store.get(session))?.version ?? 0;
      const scriptsBefore = await scriptCalls();
      sent = [];
      for (const proxy of [redisProxy, mongoProxy]) proxy.delay(ROUND_TRIP);
      const writes = Array.from({ length: WRITES }, (_, n) =>
        state.keys.set({ session: { latest: { n } as never }, 'pre-key': { [n]: { n } as never } }),
      );
      await Promise.all(writes);
      const scripts = (await scriptCalls()) - scriptsBefore;
      const acknowledged = tally();
      for (const proxy of [redisProxy, mongoProxy]) proxy.delay(0);
      assert.equal((await store.get(session))?.version, start + WRITES, 'a version for each write');
      await store.close();
      const altogether = tally();
      const again = await open(at(mode), session, { cacheBytes: 0 });
      const ids = Array.from({ length: WRITES }, (_, n) => `${n}`);
      const found = await again.state.keys.get('pre-key', ids);
      assert.deepEqual(found, Object.fromEntries(ids.map((id, n) => [id, { n }])));
      assert.deepEqual(await again.state.keys.get('session', ['latest']), { latest: { n: WRITES - 1 } });
      await again.store.close();
      t.diagnostic(
        `${mode}, ${WRITES} writes: ${scripts} script calls on Redis; MongoDB until acknowledged ` +
          `${JSON.stringify(acknowledged)}, until closed ${JSON.stringify(altogether)}`,
      );
      if (mode !== 'mongo') assert.ok(scripts >= 1 && scripts <= FEW, `${scripts} script calls`);
      if (mode === 'mongo' || mode === 'write-through') {
        const commits = acknowledged['update vault_sessions'] ?? 0;
        assert.ok(commits >= 1 && commits <= FEW, `${commits} commits`);
      }
      if (mode !== 'redis') {
        for (const collection of ['vault_sessions', 'vault_records']) {
          const updates = altogether[`update ${collection}`] ?? 0;
          assert.ok(updates >= 1 && updates <= SOME, `${updates} updates of ${collection}`);
        }
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

  it('stores of one process that open a session at the same time get it one after the other', async () => {
    const { open } = await opening();
    for (let round = 0; round < 15; round++) {
      const session = `turns-${round % 3}`;
      let owners = 0;
      const turns = (['mongo', 'write-through'] as const).map(async (mode) => {
        const { state, store } = await open(at(mode), session, { cacheBytes: 0 });
        owners++;
        assert.equal(owners, 1, 'two stores own it');
        await state.keys.set({ session: { [mode]: { round } as never } });
        owners--;
        await store.close();
      });
      await Promise.all(turns);
    }
  });
});
