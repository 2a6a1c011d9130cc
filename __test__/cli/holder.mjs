/**
 * A bot that has a session open until its input ends: `node holder.mjs <place as JSON>`. Says `open`; on each line of
 * input it writes once and says `written`, or why not; `close` closes its store.
 */
import { createInterface } from 'node:readline';
import { baileys, vault } from '../crash/light.mjs';
import { say } from '../support/say.mjs';

const { hook, args } = JSON.parse(process.argv[2]);
const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };
const last = args.at(-1);
const { state, saveCreds, store } = await vault[hook](...args.slice(0, -1), { baileys, logger, ...last });
await saveCreds();
say('open');
let count = 0;
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'close') {
    await store.close();
    break;
  }
  count += 1;
  await state.keys.set({ session: { [`held-${count}.0`]: { count } } }).then(
    () => say('written'),
    (error) => say(error.code),
  );
}
process.exit();
