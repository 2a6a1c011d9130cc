import { writeSync } from 'node:fs';

/** A line on the output, straight to the descriptor: what was said outlives the process. */
export function say(...words) {
  for (;;) {
    try {
      writeSync(1, `${words.join(' ')}\n`);
      return;
    } catch (error) {
      // The pipe is full because the parent has no time to read: then this process waits.
      if (error.code !== 'EAGAIN') {
        throw error;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}
