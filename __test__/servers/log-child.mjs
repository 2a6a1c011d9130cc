/**
 * An owner that knows how long the server's append-only file was when a write was acknowledged:
 * `node log-child.mjs <task as JSON>`. Opens the task's sessions, stores their creds and says `open`; on `write` it
 * writes to all of them at once, so many times, and says `ack <session> <version> <length>` for each write, then
 * `written`. Patch `n` is described by `stateAt` in the test.
 */
import { statSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { say } from '../support/say.mjs';
import { openPatiently } from './open.mjs';

const { place, sessions, file, writes } = JSON.parse(process.argv[2]);
const length = () => statSync(file).size;

const opened = await Promise.all(
  sessions.map(async (session) => {
    const { state, saveCreds } = await openPatiently(place, session);
    await saveCreds();
    say('ack', session, 1, length());
    return { session, keys: state.keys };
  }),
);
say('open');

/** Two records that are always equal, one that comes and one that goes, and some bytes to cut in. */
const patch = (n) => ({
  session: { left: { seq: n }, right: { seq: n } },
  'pre-key': { [n]: { seq: n }, ...(n > 4 && { [n - 3]: null }) },
  'sender-key': { filler: Buffer.alloc(300 + 100 * (n % 3), n) },
});

for await (const _ of createInterface({ input: process.stdin })) {
  for (let n = 2; n < 2 + writes; n++) {
    await Promise.all(
      opened.map(async ({ session, keys }) => {
        await keys.set(patch(n));
        say('ack', session, n, length());
      }),
    );
  }
  say('written');
}
