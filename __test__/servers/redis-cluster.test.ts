/** A node of a Redis Cluster that hangs: the sessions of the others do not notice. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { describeWith, type Server, startRedisCluster } from '../support/services.js';
import { opening } from './load.js';

const SESSIONS = 18;
/** In seconds, and how long the node hangs: several leases. */
const LOCK_TTL_S = 4;
const HANGS_MS = 12_000;
/** What a write to a node that works may take on a busy machine, in ms. */
const SOON_MS = 2_500;

/** Which node serves the session. */
async function nodeOf(nodes: readonly Server[], session: string): Promise<number> {
  for (const [at, { host, port }] of nodes.entries()) {
    const client = new Redis({ host, port });
    try {
      if ((await client.exists(`bv:{${session}}`)) === 1) return at;
    } catch {
      // Another node's.
    } finally {
      client.disconnect();
    }
  }
  return assert.fail(`${session} is nowhere`);
}

describeWith('redis', 'a node of a cluster that hangs', () => {
  it('holds up its own sessions and no others', async (t) => {
    const cluster = await startRedisCluster({ config: { 'cluster-require-full-coverage': 'no' } });
    t.after(() => cluster.stop());
    const { open, openPatiently } = await opening();
    const hosts = cluster.nodes.map(({ host, port }) => `${host}:${port}`).join(',');
    const place = {
      mode: 'redis',
      redisUrl: `redis+cluster://${hosts}`,
      mongoUrl: '',
      database: '',
      lockTtl: LOCK_TTL_S,
    } as const;
    const lost: string[] = [];
    const bots = await Promise.all(
      Array.from({ length: SESSIONS }, async (_, index) => {
        const session = `hang-${process.pid}-${index}`;
        const onLeaseLost = () => lost.push(session);
        const bot = await openPatiently(place, session, { onLeaseLost, cacheBytes: 0 });
        await bot.saveCreds();
        const write = async (n: number) => bot.state.keys.set({ session: { contact: { n } as never } });
        return { ...bot, write, session, node: await nodeOf(cluster.nodes, session) };
      }),
    );
    const hangs = bots[0]?.node as number;
    const there = bots.filter(({ node }) => node === hangs);
    const elsewhere = bots.filter(({ node }) => node !== hangs);
    assert.ok(there.length > 0 && elsewhere.length > 4, `${there.length} and ${elsewhere.length}`);

    const node = cluster.nodes[hangs] as Server;
    const over = Date.now() + HANGS_MS;
    node.pause();
    let longest = 0;
    let written = 0;
    const goOn = elsewhere.map(async ({ state, write, session }) => {
      for (let n = 0; Date.now() < over; n++) {
        const began = performance.now();
        await write(n);
        assert.deepEqual(await state.keys.get('session', ['contact']), { contact: { n } }, session);
        longest = Math.max(longest, performance.now() - began);
        written++;
        await sleep(50);
      }
    });
    // In time, and typed, for those that it serves.
    const wait = there.map(async ({ write }) => {
      while (Date.now() < over) {
        await assert.rejects(write(0), { retryable: true });
        await sleep(50);
      }
    });
    // Nobody can take a session of a healthy node: its lease does not run out.
    const rival = new Redis(cluster.nodes[elsewhere[0]?.node as number]?.url as string);
    const lease = `bv:{${elsewhere[0]?.session}}:lease`;
    const held = (async () => {
      while (Date.now() < over) {
        assert.ok((await rival.pttl(lease)) > 0, 'its lease ran out');
        await sleep(100);
      }
    })();
    try {
      await Promise.all([...goOn, ...wait, held]);
    } finally {
      rival.disconnect();
      node.resume();
    }
    t.diagnostic(`${written} writes elsewhere; the longest took ${Math.round(longest)} ms`);
    assert.ok(longest < SOON_MS, `a write to another node took ${longest} ms`);
    assert.deepEqual(
      lost.filter((session) => elsewhere.some((bot) => bot.session === session)),
      [],
    );
    // And those go on when it does, or are opened anew if their lease ran out meanwhile.
    for (const { state, write, session } of there) {
      const deadline = Date.now() + 60_000;
      for (;;) {
        const done = await write(7).then(
          () => true,
          (error: { retryable: boolean }) => {
            assert.ok(error.retryable && Date.now() < deadline, String(error));
            return false;
          },
        );
        if (done) break;
        await sleep(100);
      }
      assert.deepEqual(await state.keys.get('session', ['contact']), { contact: { n: 7 } }, session);
    }
    await Promise.all(bots.map(({ store }) => store.close()));
    const [first] = there;
    const last = await open(place, first?.session as string);
    assert.deepEqual(await last.state.keys.get('session', ['contact']), { contact: { n: 7 } });
    await last.store.close();
  });
});
