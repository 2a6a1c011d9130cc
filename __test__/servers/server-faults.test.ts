/** What happens to acknowledged writes while servers fail. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startRedis } from '../support/services.js';
import { describeFaults, OUTAGE_MS, SESSIONS } from './fault-bench.js';
import type { Load } from './load.js';

describeFaults('servers that fail', (bench) => {
  it('Redis is killed and comes back with its data', async (t) => {
    const loads = await bench.start(t, [
      bench.direct('redis'),
      bench.direct('write-through'),
      bench.direct('write-behind'),
    ]);
    await bench.redis.kill();
    await sleep(OUTAGE_MS / 2);
    await bench.redis.restart();
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('Redis killed, back with its data', loads);
  });

  it('Redis is killed and comes back empty, in front of MongoDB', async (t) => {
    const loads = await bench.start(t, [bench.direct('write-through'), bench.direct('write-behind')]);
    await bench.redis.kill();
    await bench.redis.restart({ wipe: true });
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('Redis killed, back empty', loads);
  });

  it('Redis is killed and comes back empty, as the only copy: nothing is made anew', async (t) => {
    const [load] = (await bench.start(t, [bench.direct('redis')])) as [Load];
    await bench.redis.kill();
    await bench.redis.restart({ wipe: true });
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
    assert.ok(load.longestWait <= 3 * bench.operationTimeout, `a write took ${load.longestWait} ms`);
    await bench.withRedis(async (client) =>
      assert.equal(await client.hexists(`bv:{${load.sessions[0]}}`, 'creds'), 0),
    );
  });

  it('the master of Redis dies while its replica lags, and the replica takes over', async (t) => {
    const replica = await startRedis({ persist: true });
    t.after(() => replica.stop());
    const onReplica = async (...command: [string, ...string[]]) => {
      const client = new Redis(replica.url);
      try {
        return String(await client.call(...command));
      } finally {
        client.disconnect();
      }
    };
    await onReplica('REPLICAOF', bench.redis.host, String(bench.redis.port));
    const place = { ...bench.direct('redis'), waitReplicas: { count: 1, timeout: 500 } };
    const [load] = (await bench.start(t, [place])) as [Load];
    await load.goesOn('replicas confirm');
    replica.pause();
    const seen = load.failures.length;
    await load.until('nothing is confirmed any more', () => load.failures.length > seen + SESSIONS);
    await bench.redis.kill();
    await load.crash();
    replica.resume();
    await onReplica('REPLICAOF', 'NO', 'ONE');
    const lost = await load.countLost({ ...place, redisUrl: replica.url, waitReplicas: undefined });
    load.expectTyped();
    bench.note('master dead, replica lagging', load, lost);
    assert.equal(lost, 0, 'acknowledged writes are gone');
  });

  it('MongoDB is away for longer than any operation is tried', async (t) => {
    const loads = await bench.start(t, [
      bench.direct('mongo'),
      bench.direct('write-through'),
      bench.direct('outbox'),
      bench.direct('write-behind'),
    ]);
    const [alone, through, outbox, behind] = loads as [Load, Load, Load, Load];
    await bench.mongo.kill();
    await Promise.all([
      sleep(OUTAGE_MS),
      outbox.goesOn('it goes on without MongoDB'),
      behind.goesOn('it goes on without MongoDB'),
    ]);
    await alone.until('writes are refused', () => alone.failures.length > 0);
    await through.until('writes are refused', () => through.failures.length > 0);
    assert.deepEqual(behind.codes(), {});
    await bench.mongo.restart();
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('MongoDB away', loads);
  });

  it('both servers are away', async (t) => {
    const loads = await bench.start(t, [bench.direct('write-through'), bench.direct('write-behind')]);
    await Promise.all([bench.redis.kill(), bench.mongo.kill()]);
    await sleep(OUTAGE_MS);
    for (const load of loads) await load.until('writes are refused', () => load.failures.length > SESSIONS);
    await Promise.all([bench.redis.restart(), bench.mongo.restart()]);
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('both away', loads);
  });

  it('all that Redis holds is evicted, in front of MongoDB', async (t) => {
    const loads = await bench.start(t, [bench.direct('write-through'), bench.direct('write-behind')]);
    for (let flush = 0; flush < 5; flush++) {
      await bench.withRedis((client) => client.flushall());
      await sleep(200);
    }
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('Redis evicts all', loads);
  });
});
