/**
 * A bot that seals its session anew while it writes and reads: `node rotating-bot.mjs <task as JSON>`, with the `place`, how
 * many `records` there are, and the first number (`from`) that it writes. Says `open`, `acked <number>`, `sealed <records>`,
 * `rotated <records>`; `unreadable …` and ends if a record is ever not what it must be. Closes at the end of its input.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { baileys, vault } from '../crash/light.mjs';
import { say } from '../support/say.mjs';
import { numberOf, recordValue } from './rotation-values.mjs';

const { place, records, from } = JSON.parse(process.argv[2]);
const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };
const [options] = place.args;
const { state, store } = await vault[place.hook]({ baileys, logger, ...options });
say('open');

let acked = from - 1;
let ending = false;

async function write() {
  for (let number = from; !ending; number++) {
    const id = numberOf(number, records);
    await state.keys.set({
      'pre-key': { [id]: recordValue(id, number) },
      'sender-key': { last: { number } },
    });
    acked = number;
    say('acked', number);
    // No bot writes more; as fast as it can it would fill an outbox faster than any MongoDB empties it.
    await sleep(3);
  }
}

async function read() {
  while (!ending) {
    const known = acked;
    const start = Math.floor(Math.random() * records);
    const ids = Array.from({ length: 50 }, (_, at) => String((start + at) % records));
    const found = await state.keys.get('pre-key', ids);
    const wrong = ids.find((id) => found[id]?.text !== recordValue(id).text);
    const { last } = await state.keys.get('sender-key', ['last']);
    if (wrong !== undefined || (known >= from && !(last?.number >= known))) {
      throw new Error(`${wrong} ${JSON.stringify(last)} ${known}`);
    }
    await sleep(3);
  }
}

const failed = (error) => {
  say('unreadable', error.code ?? error.message);
  process.exit(1);
};
const work = [write(), read()].map((each) => each.catch(failed));
const rotated = await store
  .rotateKey(undefined, { onProgress: ({ resealed }) => say('sealed', resealed) })
  .catch(failed);
say('rotated', rotated.resealed);
process.stdin.resume();
await once(process.stdin, 'end');
ending = true;
await Promise.all(work);
await store.close();
process.exit();
