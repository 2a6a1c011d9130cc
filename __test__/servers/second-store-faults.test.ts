/** What happens to acknowledged writes when somebody else wants the same servers, or the same sessions. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeFaults, type FaultBench, SESSIONS } from './fault-bench.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

/** Short, so that leases in a MongoDB that is away run out; long enough for a busy machine. */
const LOCK_TTL = 3;

/** What comes of opening each session of `load` from here: codes and how often. */
async function outcomes(load: Load, place: Place): Promise<Record<string, number>> {
  const { open } = await opening();
  const counts: Record<string, number> = {};
  const count = (code: string): void => {
    counts[code] = (counts[code] ?? 0) + 1;
  };
  await Promise.all(
    load.sessions.map((session) =>
      open(place, session, { openTimeout: 500 }).then(
        async ({ store }) => {
          count('opened');
          await store.close();
        },
        ({ code }) => count(code),
      ),
    ),
  );
  return counts;
}

async function cutMongo(bench: FaultBench): Promise<void> {
  await bench.mongoProxy.refuse(true);
  bench.mongoProxy.cutAll();
}

describeFaults('others on the same servers', (bench) => {
  const at = (mode: Mode): Place => ({ ...bench.proxied(mode), lockTtl: LOCK_TTL });

  it('a plain MongoDB store wants sessions whose owner has an outbox', async (t) => {
    const loads = await bench.start(t, [at('outbox'), at('write-behind')]);
    await cutMongo(bench);
    await bench.goOn(loads);
    // Until nothing in MongoDB says any more that they are held.
    await sleep(2 * LOCK_TTL * 1_000);
    for (const load of loads) {
      assert.deepEqual(await outcomes(load, bench.direct('mongo')), { SESSION_BUSY: SESSIONS });
    }
    await bench.goOn(loads);
    await bench.mongoProxy.heal();
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('a plain store beside an outbox', loads);
    for (const load of loads) {
      const opened = await outcomes(load, bench.direct('mongo'));
      assert.deepEqual(opened, { opened: SESSIONS }, 'once the owner has closed');
    }
  });

  it('Redis is emptied under owners with an outbox, and a standby wants their sessions', async (t) => {
    const loads = await bench.start(t, [at('outbox'), at('write-behind')]);
    await cutMongo(bench);
    await bench.goOn(loads);
    await sleep(2 * LOCK_TTL * 1_000);
    await bench.withRedis((client) => client.flushall());
    for (const load of loads) await load.until('writes are refused', () => load.failures.length > SESSIONS);
    for (const load of loads) {
      const { opened = 0, ...refused } = await outcomes(load, bench.direct(load.place.mode));
      assert.equal(opened, 0, 'a session was opened without what its owner had acknowledged');
      assert.deepEqual(
        Object.keys(refused).filter((code) => !['SESSION_LOST', 'SESSION_BUSY'].includes(code)),
        [],
      );
    }
    await bench.mongoProxy.heal();
    await bench.goOn(loads);
    assert.deepEqual(
      loads.flatMap((load) => [...load.lost]),
      [],
      'an owner was fenced by who only tried',
    );
    await bench.stopAll(loads);
    await bench.settle('Redis emptied under an outbox', loads);
  });

  it('two installations have sessions of the same names on one Redis', async (t) => {
    const names = Array.from({ length: SESSIONS }, (_, n) => `same-${process.pid}-${n}`);
    const loads: Load[] = [];
    for (const [mode, database] of [
      ['write-behind', 'faults'],
      ['write-behind', 'other'],
      ['outbox', 'third'],
      ['redis', 'none'],
    ] as const) {
      loads.push(await Load.start(t, { ...bench.direct(mode), database }, { sessions: names }));
    }
    await bench.mongo.kill();
    await bench.goOn(loads);
    for (const load of loads) await load.crash();
    await bench.mongo.restart();
    await bench.settle('two installations on one Redis', loads);
  });
});
