/** The real Baileys on the hybrid store, while the bot, Redis and MongoDB are killed. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { runExchange } from '../whatsapp/harness.mjs';
import type { HybridAuthOptions } from './hybrid-auth.mjs';

describeWith(['redis', 'ownMongo'], 'a bot on the hybrid store', () => {
  let redis: Server;
  let mongo: Server;

  before(async () => {
    redis = await startRedis({ persist: true });
    mongo = await startMongo();
  });

  after(() => Promise.all([redis.stop(), mongo.stop()]));

  it('is paired once and loses no message while it, Redis and MongoDB are killed', async () => {
    const authOptions: HybridAuthOptions = { redisUrl: redis.url, mongoUrl: mongo.url };
    const report = await runExchange({
      authModule: fileURLToPath(new URL('./hybrid-auth.mts', import.meta.url)),
      authOptions,
      messages: 16,
      killAt: [3, 10],
      between: async ({ message, kill, sendToA }) => {
        if (message === 5) {
          await redis.kill();
          await redis.restart();
        }
        if (message === 7) await mongo.kill();
        // Two messages were exchanged without MongoDB.
        if (message === 9) await mongo.restart();
        if (message === 12) {
          await kill();
          await redis.kill();
          await redis.restart();
          await sendToA('while you were dead');
        }
        if (message === 14) {
          await redis.kill();
          await redis.restart({ wipe: true });
        }
      },
    });
    assert.equal(report.qrs, 1, 'paired once');
    assert.deepEqual(report.missing, []);
    assert.equal(report.kills, 3);
    assert.equal(report.stats.rejectedLogins, 0);
    assert.equal(report.stats.preKeyConflicts, 0);
    assert.equal(report.delivered.fromA + report.delivered.fromB + report.crashWindow.length, 17);
  });
});
