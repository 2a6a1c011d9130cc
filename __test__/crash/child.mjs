/** What the processes of these tests do: `node child.mjs <part> <folder>`. */
import { createInterface } from 'node:readline';
import { say } from '../support/say.mjs';
import { folder } from './light.mjs';

const PARTS = {
  /** Holds the folder until told to close. */
  async hold(location) {
    const { state, store } = await folder(location);
    await state.keys.set({ session: { held: { by: process.pid } } });
    say('open');
    for await (const word of createInterface({ input: process.stdin })) {
      if (word === 'close') {
        await store.close();
        say('closed');
        break;
      }
    }
    process.stdin.destroy();
  },

  /** Exits in the middle of writing. */
  async exit(location) {
    const { state } = await folder(location);
    for (let seq = 1; ; seq++) {
      const done = state.keys.set({
        session: { left: { seq }, right: { seq } },
        'pre-key': { [seq]: { seq } },
      });
      done.then(() => {
        say(seq);
        if (seq === 300) {
          process.exit(7);
        }
      });
      if (seq % 10 === 0) {
        await done;
      }
    }
  },

  /** Opens, writes, and has nothing more to do: the store is left open. */
  async idle(location) {
    const { state } = await folder(location);
    await state.keys.set({ session: { a: { n: 1 } } });
    say('idle');
  },

  /** Ends without having waited for its last write. */
  async unawaited(location) {
    const { state } = await folder(location);
    state.keys.set({ session: { a: { n: 2 } } });
    say('written');
  },
};

const [part, location] = process.argv.slice(2);
await PARTS[part](location);
