/**
 * A bot as it stands in the README, but for the socket: the real event emitter of the Baileys given, `saveCreds` as
 * its listener. `node listener.mjs <JSON: baileys, and folder or redisUrl and sessionId>`. Says `open`; at a line of
 * its input emits `creds.update`, says `saved` or the code of the error that `saveCreds` gives whoever awaits it, and
 * `alive` a while later. With `sigterm` it closes the store and emits in a handler of SIGTERM, with nobody awaiting.
 */
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const vault = createRequire(import.meta.url)('../../../dist/index.js');
const task = JSON.parse(process.argv[2]);
const baileys = await import(task.baileys);

const quiet = { level: 'silent', child: () => quiet };
for (const level of ['trace', 'debug', 'info', 'warn', 'error']) {
  quiet[level] = () => {};
}

const { state, saveCreds, store } = task.folder
  ? await vault.useMultiFileAuthState(task.folder, { baileys })
  : await vault.useRedisAuthState({
      baileys,
      sessionId: task.sessionId,
      redis: { redisUrl: task.redisUrl },
      ttl: { lockTtl: 1 },
      openTimeout: 30_000,
      resilience: { operationTimeout: 1_000, maxRetries: 1 },
    });
const ev = baileys.makeEventBuffer(quiet);
ev.on('creds.update', (update) => Object.assign(state.creds, update));
ev.on('creds.update', saveCreds);
await saveCreds();

const emit = () => ev.emit('creds.update', { lastAccountSyncTimestamp: 1_735_689_600 });

// As the socket would, it keeps the process going until the handler has run.
const socket = setInterval(() => {}, 1_000);
process.once('SIGTERM', async () => {
  await store.close();
  emit();
  await sleep(200);
  console.log('alive');
  clearInterval(socket);
});
console.log('open');

if (!task.sigterm) {
  const lines = createInterface({ input: process.stdin });
  await once(lines, 'line');
  if (task.close) {
    await store.close();
  }
  emit();
  console.log(
    await saveCreds().then(
      () => 'saved',
      (error) => error.code,
    ),
  );
  await sleep(200);
  console.log('alive');
  process.exit();
}
