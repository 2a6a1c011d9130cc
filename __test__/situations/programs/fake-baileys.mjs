/**
 * Baileys with a socket that reaches nothing: it says `socket <noise key>`, and then does what the environment says, each
 * after a while: `creds` (creds were updated), `wait` (says `waits`, until the parent process sends something) or
 * `close:<status code>`. At the end of its part it says `done`. With `FAKE_STAYS` it keeps the process alive until it is
 * closed, as a real one does.
 */
import { EventEmitter, once } from 'node:events';

export * from 'baileys-real';

const steps = (process.env.FAKE_SOCKET ?? 'creds').split(',');

export function makeWASocket({ auth }) {
  const ev = new EventEmitter();
  const stays = setInterval(() => {}, 2 ** 30);
  if (process.env.FAKE_STAYS === undefined) stays.unref();
  const close = (error) => {
    clearInterval(stays);
    ev.emit('connection.update', { connection: 'close', lastDisconnect: { error } });
  };
  console.log('socket', Buffer.from(auth.creds.noiseKey.public).toString('hex'));
  setTimeout(async () => {
    for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
      const [word, statusCode] = step.split(':');
      if (word === 'close') {
        const error = Object.assign(new Error('closed'), { output: { statusCode: Number(statusCode) } });
        close(error);
        return;
      }
      if (word === 'wait') {
        console.log('waits');
        await once(process, 'message');
        continue;
      }
      // As `emit` does, but for that the next step comes when it is saved, or is not.
      await Promise.allSettled(ev.listeners('creds.update').map((listener) => listener({})));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log('done');
  }, 20);
  return { ev, end: close };
}

export default makeWASocket;
