/** A session that Redis, as the only copy, lost or holds an older copy of: no answer is made of it. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { Redis } from 'ioredis';
import { describeWith, type Server, startRedis } from '../support/services.js';
import { opening } from './load.js';

describeWith('redis', 'what Redis lost', () => {
  let redis: Server;
  let client: Redis;
  let sessions = 0;

  before(async () => {
    redis = await startRedis();
    client = new Redis(redis.url);
  });
  after(async () => {
    client.disconnect();
    await redis.stop();
  });

  /** An owner that remembers nothing and renews its lease once in ten minutes: what it is told, reads tell it. */
  async function owner(options: { exclusive?: boolean; cacheBytes?: number } = {}) {
    const { exclusive = true, cacheBytes = 0 } = options;
    const { openPatiently: open } = await opening();
    const session = `lost-${process.pid}-${++sessions}`;
    const place = { mode: 'redis', redisUrl: redis.url, mongoUrl: '', database: '', lockTtl: 600 } as const;
    const bot = await open({ ...place, exclusive }, session, { cacheBytes });
    await bot.saveCreds();
    await bot.state.keys.set({ session: { contact: { n: 1 } as never } });
    const copy = await client.dumpBuffer(`bv:{${session}}`);
    await bot.state.keys.set({ session: { contact: { n: 2 } as never } });
    return {
      ...bot,
      session,
      read: async (id: string) => bot.state.keys.get('session', [id]),
      write: async (n: number) => bot.state.keys.set({ session: { contact: { n } as never } }),
      again: () => open({ ...place, exclusive }, session, { cacheBytes, openTimeout: 2_000 }),
      losses: {
        evicted: () => client.unlink(`bv:{${session}}`),
        expired: () => client.pexpire(`bv:{${session}}`, 0),
        restored: () => client.restore(`bv:{${session}}`, 0, copy as unknown as string, 'REPLACE'),
        emptied: () => client.flushall(),
      },
    };
  }

  type Bot = Awaited<ReturnType<typeof owner>>;
  const READS: Record<string, (bot: Bot) => Promise<unknown>> = {
    'keys.get': ({ read }) => read('contact'),
    'keys.get of what is not there': ({ read }) => read('nobody'),
    'keys.listIds': async ({ state }) => {
      const keys = state.keys as unknown as { listIds(type: string): AsyncIterable<unknown> };
      const ids = [];
      for await (const id of keys.listIds('session')) ids.push(id);
      return ids;
    },
    'store.get': ({ store, session }) => store.get(session),
    'store.exists': ({ store, session }) => store.exists(session),
  };

  for (const loss of ['evicted', 'expired', 'restored', 'emptied'] as const) {
    for (const [read, answer] of Object.entries(READS)) {
      it(`${loss}: ${read} is SESSION_LOST at once, and nothing begins anew`, async () => {
        const bot = await owner();
        await answer(bot);
        await bot.losses[loss]();
        const lost = { code: 'SESSION_LOST', retryable: false };
        await assert.rejects(answer(bot), lost);
        await assert.rejects(bot.read('contact'), lost);
        await assert.rejects(bot.write(3), lost);
        await assert.rejects(bot.again(), { code: 'SESSION_LOST' });
        if (loss !== 'restored') assert.equal(await client.exists(`bv:{${bot.session}}`), 0);
        await bot.store.close();
      });
    }
  }

  it('is told to writers without a lease as well', async () => {
    for (const loss of ['evicted', 'restored', 'emptied'] as const) {
      const bot = await owner({ exclusive: false });
      await bot.losses[loss]();
      await assert.rejects(bot.read('contact'), { code: 'SESSION_LOST' }, loss);
      await bot.store.close();
      const other = await owner({ exclusive: false });
      await other.losses[loss]();
      const write = other.write(3);
      await assert.rejects(write, { code: 'SESSION_LOST' }, loss);
      const head = await client.hget(`bv:{${other.session}}`, '@');
      assert.ok(head === null || Number(head.split(':')[1]) < 3, `${loss}: nothing was written`);
      await other.store.close();
    }
  });

  it('does not keep an owner from what it remembers', async () => {
    const bot = await owner({ cacheBytes: 1 << 20 });
    assert.deepEqual(await bot.read('contact'), { contact: { n: 2 } });
    await bot.losses.evicted();
    assert.deepEqual(await bot.read('contact'), { contact: { n: 2 } });
    await assert.rejects(bot.read('nobody'), { code: 'SESSION_LOST' });
    await assert.rejects(bot.read('contact'), { code: 'SESSION_LOST' });
    await bot.store.close();
  });
});
