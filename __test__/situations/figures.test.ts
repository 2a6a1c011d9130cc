/** What a program on Redis and MongoDB is told of them: figures that count, and none where there is nothing. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';
import { describeWith, sharedMongo, sharedRedis } from '../support/services.js';
import { runNode } from './support.js';

const ROOT = join(__dirname, '..', '..');

const PROGRAM = `
import { setTimeout as sleep } from 'node:timers/promises';
import * as vault from 'baileys-vault';
const { REDIS, MONGO } = process.env;
const told = [];
const until = async (done) => { for (let i = 0; i < 600 && !done(); i++) await sleep(50); };
const open = (more) => vault.useHybridAuthState({
  sessionId: 'figures-' + process.pid,
  cacheBytes: 0,
  hybrid: { redisUrl: REDIS, redisPrefix: 'figures-' + process.pid, mongoUrl: MONGO, mongoDatabase: 'figures', outboxLimit: 1048576, ...more },
});
const pair = { public: Buffer.alloc(32), private: Buffer.alloc(32) };

const through = await open({});
await through.saveCreds();
await through.state.keys.set({ 'pre-key': { 1: pair } });
await through.state.keys.get('pre-key', ['1']);
const first = [through.store.getMetrics(), through.store.getOutboxStats()];
await through.store.close();

let full = false;
const behind = await open({
  enableWriteBehind: true,
  queue: { add: async (name, job) => { if (full) throw new Error('full'); told.push([name, job.version]); }, close: async () => {} },
});
await behind.state.keys.set({ 'pre-key': { 2: pair } });
await until(() => behind.store.getMetrics().queuePublishes > 0);
full = true;
await behind.state.keys.set({ 'pre-key': { 3: pair } });
await until(() => behind.store.getMetrics().queueFailures > 0 && behind.store.getOutboxStats()?.pending === 0);
const second = [behind.store.getMetrics(), behind.store.getOutboxStats()];
await behind.store.delete('figures-' + process.pid);
await behind.store.close();
console.log('RESULT ' + JSON.stringify({ first, second, told }));
process.exit(0);
`;

describeWith(['redis', 'mongo'], 'figures of a hybrid store', () => {
  it('count what happened', async (t) => {
    const [REDIS, MONGO] = await Promise.all([sharedRedis(), sharedMongo()]);
    const { code, stdout, stderr } = await runNode(t, ['--input-type=module', '-e', PROGRAM], {
      cwd: ROOT,
      env: { ...process.env, REDIS, MONGO },
    });
    assert.equal(code, 0, stderr);
    const { first, second, told } = JSON.parse(/^RESULT (.*)$/m.exec(stdout)?.[1] ?? 'null');

    const [through, noOutbox] = first;
    assert.equal(noOutbox, null, 'write-through without an outbox has no figures of one');
    assert.equal(through.directWrites, 2);
    assert.ok(through.redisHits > 0, JSON.stringify(through));
    assert.equal(through.totalRequests, through.redisHits + through.redisMisses);
    assert.equal(through.hitRatio, through.redisHits / through.totalRequests);

    const [behind, outbox] = second;
    assert.deepEqual([behind.queuePublishes, behind.queueFailures, behind.directWrites], [1, 1, 0]);
    assert.equal(told.length, 1);
    // The queue was full for the second, and MongoDB has it nevertheless.
    assert.deepEqual([outbox.pending, outbox.totalCompleted], [0, 2]);
  });
});
