/** What happens to acknowledged writes when the process that made them dies or sleeps. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeFaults } from './fault-bench.js';
import { Load, opening } from './load.js';

describeFaults('processes that fail', (bench) => {
  it('a process dies with writes that MongoDB does not have', async (t) => {
    const loads = await bench.start(t, [bench.direct('outbox'), bench.direct('write-behind')]);
    await bench.mongo.kill();
    await bench.goOn(loads);
    for (const load of loads) await load.crash();
    await bench.mongo.restart();
    await bench.settle('died while MongoDB was away', loads);
  });

  it('a process dies while Redis and MongoDB are there', async (t) => {
    const loads = await bench.start(t, [
      bench.direct('redis'),
      bench.direct('mongo'),
      bench.direct('write-through'),
      bench.direct('write-behind'),
    ]);
    await sleep(500);
    for (const load of loads) await load.crash();
    await bench.settle('process killed', loads);
  });

  for (const mode of ['redis', 'mongo', 'write-through', 'write-behind'] as const) {
    it(`a process sleeps through the end of its lease: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const place = { ...bench.direct(mode), lockTtl: 1 };
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
        { lost: 'FENCED', deleted: 'FENCED' },
      );
      await load.stop();
      assert.deepEqual(await state.keys.get('session', ['later']), { later: { seq: 1 } });
      assert.equal((await store.get(session))?.version, before?.version);
      // At most the write whose answer was on its way when the process was stopped.
      assert.ok(load.acknowledged <= acknowledged + 1);
      await store.close();
      await bench.settle('owner slept', [load]);
    });
  }
});
