/** Sessions with a time to live: none ends while it is open, and each ends when it was closed for so long. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import {
  describeWith,
  type Server,
  startMongo,
  startPostgres,
  startRedis,
  until,
} from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const MODES = ['redis', 'mongo', 'postgres', 'write-through', 'write-behind', 'postgres-behind'] as const;
/** In seconds: a third of it, after which an open session is renewed, is long for a busy machine. */
const TTL = 9;
/** So long Redis' copy of a session may be read after the session was renewed, in ms. */
const SURE_MS = TTL * 900;

describeWith(['redis', 'ownMongo', 'postgres'], 'a session with a ttl', () => {
  let redis: Server;
  let mongo: Server;
  let postgres: Server;
  let mongoProxy: FaultProxy;

  before(async () => {
    [redis, mongo, postgres] = await Promise.all([startRedis(), startMongo(), startPostgres()]);
    mongoProxy = await startProxy(mongo.port);
  });
  after(async () => {
    await mongoProxy.close();
    await Promise.all([redis.stop(), mongo.stop(), postgres.stop()]);
  });

  const at = (mode: Mode): Place => ({
    mode,
    redisUrl: redis.url,
    mongoUrl: mongo.url,
    postgresUrl: postgres.url,
    database: `ttl-${mode}`,
    ttl: TTL,
  });

  /** Asks the servers, which keeps nothing alive. */
  async function exists(mode: Mode, session: string): Promise<boolean> {
    const { openPatiently: open } = await opening();
    const { store } = await open(at(mode), 'onlooker');
    try {
      return await store.exists(session);
    } finally {
      await store.close();
    }
  }

  it('lives while it is open, idle or in use, and ends once it is closed', async (t) => {
    const { openPatiently: open } = await opening();
    const lives = MODES.map(async (mode) => {
      const used = await Load.start(t, at(mode), { sessions: 1 });
      const [inUse] = used.sessions as [string];
      const idle = `idle-${mode}`;
      const { state, saveCreds, store } = await open(at(mode), idle);
      t.after(() => store.close());
      await saveCreds();
      await state.keys.set({ session: { contact: { seq: 1 } as never } });
      await sleep(2.5 * TTL * 1_000);
      await used.goesOn(`${mode}, in use`);
      assert.equal(await exists(mode, idle), true, `${mode}, idle`);
      await state.keys.set({ session: { contact: { seq: 2 } as never } });
      assert.deepEqual([used.codes(), [...used.lost]], [{}, []], mode);

      // Closed, it is there for as long as it was to live from its last renewal on …
      assert.deepEqual(await used.stop(), []);
      await store.close();
      const closed = Date.now();
      for (const session of [inUse, idle]) {
        assert.ok((await exists(mode, session)) || Date.now() - closed > TTL * 1_000, `${mode}, just closed`);
      }
      const ended = async (session: string): Promise<number> => {
        await until(`${session} ends`, async () => !(await exists(mode, session)), 3 * TTL * 1_000);
        return Date.now() - closed;
      };
      const [first, second] = [await ended(inUse), await ended(idle)];
      t.diagnostic(`${mode}: ended ${first} ms and ${second} ms after they were closed, ttl ${TTL} s`);
      // … the write, or at worst the renewal, before it was closed: a third of it, as nothing fails here.
      assert.ok(first >= (TTL * 1_000) / 2, `${mode}: after ${first} ms`);

      // What ended is gone, and begins anew.
      const again = await open(at(mode), idle);
      assert.equal(await again.store.get(idle), null, mode);
      assert.notEqual(again.state.creds.advSecretKey, state.creds.advSecretKey, mode);
      assert.deepEqual(await again.state.keys.get('session', ['contact']), {}, mode);
      await again.store.close();
    });
    await Promise.all(lives);
  });

  it('is opened again before it ends, and lives on', async (t) => {
    const { openPatiently: open } = await opening();
    const lives = MODES.map(async (mode) => {
      const session = `again-${mode}`;
      const first = await open(at(mode), session);
      await first.saveCreds();
      await first.store.close();
      await sleep(TTL * 500);
      const second = await open(at(mode), session);
      t.after(() => second.store.close());
      assert.equal(second.state.creds.advSecretKey, first.state.creds.advSecretKey, mode);
      await sleep(TTL * 1_000);
      assert.equal(await exists(mode, session), true, `${mode}: it ended though it is open`);
      await second.store.close();
    });
    await Promise.all(lives);
  });

  it('is read from Redis while MongoDB is away, and not in the last tenth of its life', async (t) => {
    const { open } = await opening();
    const session = 'last-tenth';
    const place: Place = {
      ...at('write-through'),
      mongoUrl: mongo.url.replace(`:${mongo.port}`, `:${mongoProxy.port}`),
      lockTtl: 120,
    };
    const { state, saveCreds, store } = await open(place, session, { cacheBytes: 0 });
    t.after(() => store.close());
    await saveCreds();
    await state.keys.set({ session: { contact: { seq: 1 } as never } });
    const read = async () => {
      const at = Date.now();
      try {
        return { at, found: await state.keys.get('session', ['contact', 'stranger']) };
      } catch (error) {
        return { at, code: String((error as { code?: string }).code) };
      }
    };
    // Renewed for the last time at some moment before it is answered.
    await state.keys.set({ session: { contact: { seq: 2 } as never } });
    const written = Date.now();
    const client = new Redis(redis.url);
    t.after(() => client.disconnect());
    await until('Redis has a whole copy', async () => {
      const [copy] = await client.keys(`bv:{${session}}:*:hot`);
      return copy !== undefined && (await client.hexists(copy, '@full')) === 1;
    });
    await mongoProxy.refuse(true);
    mongoProxy.cutAll();

    const readings: Awaited<ReturnType<typeof read>>[] = [];
    while (Date.now() - written < 2 * TTL * 1_000) {
      readings.push(await read());
      await sleep(100);
    }
    for (const reading of readings) {
      const since = reading.at - written;
      if ('found' in reading) {
        // "There is no such record" is only ever said of the other one.
        assert.deepEqual(reading.found, { contact: { seq: 2 } }, `after ${since} ms`);
        assert.ok(since <= SURE_MS, `asked of Redis ${since} ms after it was last renewed`);
      } else assert.match(reading.code, /^(STORAGE_UNAVAILABLE|TIMEOUT|CIRCUIT_OPEN|SESSION_LOST)$/);
    }
    const byRedis = readings.filter((reading) => 'found' in reading);
    assert.ok(byRedis.length > 0, 'Redis was never asked while MongoDB was away');
    const lastRead = (byRedis.at(-1)?.at ?? 0) - written;
    t.diagnostic(`last read from Redis ${lastRead} ms after the last write, ttl ${TTL} s`);
    assert.ok(lastRead > SURE_MS / 2, 'Redis was asked no more long before that');

    await mongoProxy.heal();
    // It has ended: its owner is told, and nobody takes what Redis may still have for it.
    await until('its owner is told that it ended', async () => {
      try {
        await state.keys.set({ session: { contact: { seq: 3 } as never } });
        return false;
      } catch (error) {
        return (error as { code?: string }).code === 'SESSION_LOST';
      }
    });
    assert.equal(await exists('write-through', session), false);
  });
});
