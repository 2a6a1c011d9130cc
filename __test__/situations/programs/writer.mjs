/**
 * A bot that opens one session on servers, perhaps writes for a while, and closes: `node writer.mjs <task as JSON>`.
 * Says one JSON object a line: `{ log, message }`, `{ opened, ms }`, `{ refused, ms, … }`, `{ ack }`, `{ error, … }`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { baileys, vault } from '../../crash/light.mjs';

const {
  hook,
  options,
  records,
  recordBytes = 10,
  writeForMs = 0,
  pauseMs = 100,
  writtenBytes = 0,
} = JSON.parse(process.argv[2]);

const tell = (line) => console.log(JSON.stringify({ at: Date.now(), ...line }));

/** The core's text stands in the message; the cause is the driver's or the server's. */
const describe = (error) => ({
  code: error.code ?? 'untyped',
  retryable: error.retryable,
  message: error.message,
  cause: error.cause?.message,
});

const log = (level) => (first, second) =>
  tell({ log: level, message: [first, second].find((part) => typeof part === 'string') });
const logger = { debug() {}, info: log('info'), warn: log('warn'), error: log('error') };

const begun = Date.now();
let opened;
try {
  opened = await vault[hook]({ baileys, logger, ...options });
} catch (error) {
  tell({ refused: true, ms: Date.now() - begun, ...describe(error) });
  process.exit();
}
tell({ opened: true, ms: Date.now() - begun });
const { state, store } = opened;

async function attempt(work) {
  try {
    await work();
    tell({ ack: true });
  } catch (error) {
    tell({ error: true, ...describe(error) });
  }
}

if (records !== undefined) {
  const ids = Array.from({ length: records }, (_, n) => `id${n}`);
  for (const id of ids) {
    await state.keys.set({ session: { [id]: Buffer.alloc(recordBytes, id) } });
  }
  for (let round = 0; round < 3; round++) {
    await attempt(async () => {
      const found = await state.keys.get('session', ids);
      tell({ found: ids.filter((id) => found[id]?.length === recordBytes).length });
    });
  }
}
for (let n = 0; Date.now() - begun < writeForMs; n++) {
  await attempt(() => state.keys.set({ session: { one: { n, filler: Buffer.alloc(writtenBytes, n) } } }));
  await sleep(pauseMs);
}
await store.close();
