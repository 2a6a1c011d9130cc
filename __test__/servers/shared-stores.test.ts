/** Several stores of one process at one place: what they must agree on, and who hears of a loss. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

interface Refusal {
  code: string;
  retryable: boolean;
  message: string;
  details: { field?: string; inUse?: unknown; asked?: unknown };
}

/** The option that a refusal names, with the value in use and the one asked for. */
function named({ code, retryable, message, details }: Refusal): unknown[] {
  assert.deepEqual([code, retryable], ['CONFIG_INVALID', false], message);
  return [details.field, details.inUse, details.asked];
}

const STORES = 20;

describeWith(['redis', 'ownMongo'], 'stores of one process at one place', () => {
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

  const at = (mode: Mode): Place => ({ mode, redisUrl: redis.url, mongoUrl: mongo.url, database: 'shared' });

  it('a session that is lost is told of once to each who holds it, and to nobody else', async () => {
    const { openPatiently: open } = await opening();
    const told: string[] = [];
    const hold = (session: string, name: string) =>
      open(at('redis'), session, { onLeaseLost: () => told.push(name) });
    const lost = [await hold('lost', 'first'), await hold('lost', 'second')];
    const others = [];
    for (let n = 0; n < STORES; n++) others.push(await hold(`other-${n}`, `other ${n}`));
    await lost[0]?.state.keys.set({ session: { a: { n: 1 } as never } });
    const head = (await client.hget('bv:{lost}', '@')) as string;
    const taken = head.replace(/^\d+/, (token) => `${BigInt(token) + 1n}`);
    await client.hset('bv:{lost}', '@', taken);
    await assert.rejects(lost[0]?.state.keys.set({ session: { a: { n: 2 } as never } }) as Promise<void>, {
      code: 'FENCED',
    });
    for (let waited = 0; told.length < 2 && waited < 20_000; waited += 20) await sleep(20);
    // Whatever is told once too often has been told by the time that another session has been written.
    await others[0]?.state.keys.set({ session: { a: { n: 1 } as never } });
    assert.deepEqual(told.sort(), ['first', 'second']);
    for (const { store } of [...lost, ...others]) await store.close();
  });

  for (const mode of ['redis', 'mongo', 'write-through'] as const) {
    it(`a second store with other options is refused by their name and both values: ${mode}`, async () => {
      const { open, openPatiently } = await opening();
      const first = await openPatiently(at(mode), `options-${mode}`);
      async function refusal(place: Partial<Place>, options = {}): Promise<unknown[]> {
        const second = open({ ...at(mode), ...place }, `options-${mode}-2`, options);
        const outcome = await second.then(
          ({ store }) => store.close().then(() => 'opened' as const),
          (error: Refusal) => named(error),
        );
        assert.ok(outcome !== 'opened', 'it is refused');
        return outcome;
      }
      assert.deepEqual(await refusal({ lockTtl: 9 }), ['ttl.lockTtl', 5, 9]);
      const other = { resilience: { operationTimeout: 1_234 } };
      assert.deepEqual(await refusal({}, other), ['resilience.operationTimeout', 3_000, 1_234]);
      if (mode === 'write-through') {
        for (const [changed, field] of [
          [{ mode: 'outbox' }, 'hybrid.outboxWhenMongoDown'],
          [{ mode: 'write-behind' }, 'hybrid.enableWriteBehind'],
          [{ acceptLostOutbox: true }, 'hybrid.acceptLostOutbox'],
        ] as const) {
          assert.deepEqual(await refusal(changed), [field, false, true]);
        }
      }
      // The first goes on as before, and so does one that agrees.
      const third = await openPatiently(at(mode), `options-${mode}`);
      await third.state.keys.set({ session: { a: { n: 1 } as never } });
      assert.deepEqual(await first.state.keys.get('session', ['a']), { a: { n: 1 } });
      await first.store.close();
      await third.store.close();
      const again = await openPatiently({ ...at(mode), lockTtl: 9 }, `options-${mode}`);
      await again.store.close();
    });

    it(`a second opener of an open session wants what the first one has: ${mode}`, async () => {
      const { open, openPatiently } = await opening();
      const session = `opener-${mode}`;
      const first = await openPatiently(at(mode), session, {
        fencingToken: 7,
        ttl: { lockTtl: 5, defaultTtl: 3_600 },
      });
      const asked = (options: Record<string, unknown>) => open(at(mode), session, options);
      const same = { ttl: { lockTtl: 5, defaultTtl: 3_600 } };
      for (const [options, refused] of [
        [{ ttl: { lockTtl: 5, defaultTtl: 60 } }, ['ttl', 3_600, 60]],
        [{ ...same, fencingToken: 8 }, ['fencingToken', 7, 8]],
      ] as const) {
        await assert.rejects(asked(options), (error: Refusal) => {
          assert.deepEqual(named(error), refused);
          return true;
        });
      }
      await assert.rejects(asked({ ...same, fencingToken: 6 }), { code: 'FENCED' });
      for (const options of [same, { ...same, fencingToken: 7 }]) {
        const { store } = await openPatiently(at(mode), session, options);
        await store.close();
      }
      await first.store.close();
    });
  }
});
