/** `socket.ev.on('creds.update', saveCreds)`, which nobody awaits, when saving fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useRedisAuthState } from '../../lib/index.js';
import { describeWith, startRedis } from '../support/services.js';
import { type Ended, makeFolder, startProgram } from './support.js';

const RELEASES = ['baileys-6', 'baileys-rc4', 'baileys-rc9', 'baileys'];

/** The program went on, and said once for each failure that the creds were not saved, and why. */
function wentOn({ code, signal, stdout, stderr }: Ended, reason: string, failures: number): void {
  assert.match(stdout, /^alive$/m, stderr);
  assert.deepEqual([code, signal], [0, null], stderr);
  assert.doesNotMatch(stderr, /unhandled|UnhandledPromiseRejection/i);
  const told = stderr.match(/the creds were not saved/g) ?? [];
  assert.equal(told.length, failures, stderr);
  assert.match(stderr, new RegExp(`code: '${reason}'`));
}

for (const baileys of RELEASES) {
  test(`after close, with the emitter of ${baileys}: logged, and typed for whoever awaits`, async (t) => {
    const folder = await makeFolder(t);
    const bot = startProgram(t, 'listener.mjs', JSON.stringify({ baileys, folder, close: true }));
    await bot.says('open');
    bot.child.stdin.write('go\n');
    const ended = await bot.ended;
    assert.match(ended.stdout, /^CLOSED$/m);
    wentOn(ended, 'CLOSED', 2);
  });
}

test('after close in a SIGTERM handler: the handler runs to its end', async (t) => {
  const folder = await makeFolder(t);
  const bot = startProgram(t, 'listener.mjs', JSON.stringify({ baileys: 'baileys', folder, sigterm: true }));
  await bot.says('open');
  bot.child.kill('SIGTERM');
  wentOn(await bot.ended, 'CLOSED', 1);
});

test('while all is well: saved, and nothing is logged', async (t) => {
  const folder = await makeFolder(t);
  const bot = startProgram(t, 'listener.mjs', JSON.stringify({ baileys: 'baileys', folder }));
  await bot.says('open');
  bot.child.stdin.write('go\n');
  const { code, stdout, stderr } = await bot.ended;
  assert.deepEqual([code, stdout, stderr], [0, 'open\nsaved\nalive\n', '']);
});

describeWith(['redis'], 'with the session in Redis', () => {
  test('while the server is down: logged, and typed for whoever awaits', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const task = { baileys: 'baileys', sessionId: 'down', redisUrl: redis.url };
    const bot = startProgram(t, 'listener.mjs', JSON.stringify(task));
    await bot.says('open');
    await redis.stop();
    bot.child.stdin.write('go\n');
    const ended = await bot.ended;
    assert.match(ended.stdout, /^(TIMEOUT|STORAGE_UNAVAILABLE|CIRCUIT_OPEN)$/m);
    wentOn(ended, '(TIMEOUT|STORAGE_UNAVAILABLE|CIRCUIT_OPEN)', 2);
  });

  test('once another process owns the session: logged, and typed for whoever awaits', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const sessionId = 'taken';
    const task = { baileys: 'baileys', sessionId, redisUrl: redis.url };
    const bot = startProgram(t, 'listener.mjs', JSON.stringify(task));
    await bot.says('open');
    bot.child.kill('SIGSTOP');
    const options = { sessionId, redis: { redisUrl: redis.url }, openTimeout: 60_000 };
    const { store } = await useRedisAuthState(options);
    t.after(() => store.close());
    bot.child.kill('SIGCONT');
    bot.child.stdin.write('go\n');
    const ended = await bot.ended;
    assert.match(ended.stdout, /^FENCED$/m);
    wentOn(ended, 'FENCED', 2);
  });
});
