/**
 * One of two that want the same session: `node fight-child.mjs <task as JSON>`. Waits until it owns the session, goes on
 * from the last number there, and writes until it is fenced or killed. Says `open <seq> <version>` and `ack <seq>`; on
 * `close` it lets go.
 */
import { createInterface } from 'node:readline';
import { say } from '../support/say.mjs';
import { open } from './open.mjs';

const { place, session, by } = JSON.parse(process.argv[2]);

let stopped = false;
createInterface({ input: process.stdin }).on('line', () => {
  stopped = true;
});

// Opening may fail for a moment, on a busy server; then another process has its turn.
const { state, store } = await open(place, session, { openTimeout: 60_000 }).catch((error) => {
  say('error', error.code);
  process.exit(0);
});
const { left } = await state.keys.get('session', ['left']);
const start = left?.seq ?? 0;
say('open', start, (await store.get(session))?.version ?? 0);
for (let seq = start + 1; !stopped; seq++) {
  try {
    await state.keys.set({ session: { left: { seq }, right: { seq } }, 'pre-key': { [seq]: { by } } });
    say('ack', seq);
  } catch (error) {
    if (error.code === 'FENCED') {
      break;
    }
    say('error', error.code);
  }
}
await store.close();
process.stdin.destroy();
