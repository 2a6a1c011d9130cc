/** What happens to acknowledged writes while the network fails. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeFaults, OUTAGE_MS } from './fault-bench.js';
import { opening } from './load.js';

describeFaults('connections that fail', (bench) => {
  it('every answer is 500 ms late', async (t) => {
    const loads = await bench.start(t, [
      bench.proxied('redis'),
      bench.proxied('mongo'),
      bench.proxied('write-through'),
      bench.proxied('write-behind'),
    ]);
    bench.redisProxy.delay(500);
    bench.mongoProxy.delay(500);
    await sleep(OUTAGE_MS);
    await bench.goOn(loads);
    bench.redisProxy.delay(0);
    bench.mongoProxy.delay(0);
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('500 ms late', loads);
  });

  it('every connection is cut, again and again', async (t) => {
    const loads = await bench.start(t, [
      bench.proxied('redis'),
      bench.proxied('mongo'),
      bench.proxied('write-through'),
      bench.proxied('write-behind'),
    ]);
    for (let cut = 0; cut < 10; cut++) {
      bench.redisProxy.cutAll();
      bench.mongoProxy.cutAll();
      await sleep(Math.random() * 300);
    }
    await bench.goOn(loads);
    await bench.stopAll(loads);
    await bench.settle('connections cut', loads);
  });

  for (const mode of ['redis', 'mongo', 'write-through', 'write-behind'] as const) {
    it(`the connection is cut when a write was carried out and before it is answered: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const session = `cut-${process.pid}-${mode}`;
      const { state, store } = await open(bench.proxied(mode), session);
      t.after(() => store.close());
      await state.keys.set({ session: { first: { n: 0 } as never } });
      const start = (await store.get(session))?.version ?? 0;
      const proxy = mode === 'mongo' || mode === 'write-through' ? bench.mongoProxy : bench.redisProxy;
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
      bench.rows.push({
        fault: 'answer cut off',
        mode,
        acknowledged: commits,
        lost: 0,
        longestWait,
        failures: {},
      });
    });
  }
});
