/**
 * An owner of sessions that writes to all of them until it is told to stop: `node child.mjs <task as JSON>`.
 * Says on its output `open <session> <secret>`, `ack <session> <seq> <ms>`, `error <session> <seq> <ms> <class> <code>`,
 * `lost <session> <code>`, `deleted <session> <code or ok>`, `closed`. Hears `stop` and `delete`.
 */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from '../support/say.mjs';
import { openPatiently, vault } from './open.mjs';

const task = JSON.parse(process.argv[2]);

let stopped = false;

const codeOf = (error) => (error instanceof vault.StorageError ? error.code : `untyped:${error?.message}`);

async function write(session, opened) {
  const { state } = opened;
  for (let seq = task.from ?? 1; !stopped; seq++) {
    const start = performance.now();
    const took = () => Math.round(performance.now() - start);
    try {
      await state.keys.set({
        session: { left: { seq }, right: { seq } },
        'pre-key': { [seq]: { seq } },
      });
      say('ack', session, seq, took());
    } catch (error) {
      say('error', session, seq, took(), error?.constructor?.name, codeOf(error));
    }
    await sleep(Math.random() * 2 * task.pause);
  }
}

const sessions = await Promise.all(
  task.sessions.map(async (session) => {
    const onLeaseLost = (error) => say('lost', session, codeOf(error));
    const opened = await openPatiently(task.place, session, { onLeaseLost, openTimeout: task.openTimeout });
    await opened.saveCreds();
    say('open', session, opened.state.creds.advSecretKey);
    return { session, opened };
  }),
);
const writing = sessions.map(({ session, opened }) => write(session, opened));

for await (const word of createInterface({ input: process.stdin })) {
  if (word === 'stop') {
    stopped = true;
    await Promise.all(writing);
    const outcomes = await Promise.allSettled(sessions.map(({ opened }) => opened.store.close()));
    for (const { status, reason } of outcomes) {
      if (status === 'rejected') {
        say('close-error', codeOf(reason));
      }
    }
    say('closed');
    break;
  }
  if (word === 'delete') {
    for (const { session, opened } of sessions) {
      await opened.store.delete(session).then(
        () => say('deleted', session, 'ok'),
        (error) => say('deleted', session, codeOf(error)),
      );
    }
  }
}
process.stdin.destroy();
