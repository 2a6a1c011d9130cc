/**
 * One of two that want the same session: `node fight-child.mjs <task as JSON>`. Waits until it owns the session, goes on
 * from the last number there, and writes until it is fenced or killed. Says `open <seq> <version>` and
 * `ack <seq>`; on `close` it lets go.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from '../support/say.mjs';
import { open } from './open.mjs';

const { place, session, by, contested } = JSON.parse(process.argv[2]);

/** Writes under way at a time, at most. */
const BURST = 4;
/** Between two bursts, in ms, at most: the other processes want to live too. */
const PAUSE = 20;

let stopped = false;
let fenced = false;
createInterface({ input: process.stdin }).on('line', () => {
  stopped = true;
});

// Opening may fail for a moment, on a busy server; then another process has its turn.
const { state, store } = await open(place, session, { openTimeout: 60_000 }).catch((error) => {
  say('error', error.code);
  process.exit(0);
});
const { left } = await state.keys.get('session', ['left']);
let seq = left?.seq ?? 0;
say('open', seq, (await store.get(session))?.version ?? 0);

async function write(number) {
  try {
    await state.keys.set({
      session: { left: { seq: number }, right: { seq: number } },
      'sender-key': { [number % contested]: { seq: number } },
      'pre-key': { [number]: { by } },
    });
    say('ack', number);
  } catch (error) {
    fenced ||= error.code === 'FENCED';
    say('error', error.code);
  }
}

while (!stopped && !fenced) {
  await Promise.all(Array.from({ length: 1 + Math.floor(Math.random() * BURST) }, () => write(++seq)));
  await sleep(Math.random() * PAUSE);
}
await store.close();
process.stdin.destroy();
