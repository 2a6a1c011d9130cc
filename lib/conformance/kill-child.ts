/** The process that is killed: writes numbered patches for ever and says which are acknowledged. */
import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { type KillTask, patchOf } from './kill-patch.js';
import type { AuthStateFactory } from './types.js';
import { wrap } from './workbench.js';

/** Patches from one save of the credentials to the next. */
const SAVE_EVERY = 5;

// Straight to the descriptor: what the parent has not read yet outlives the process.
const say = (word: string, seq = 0): void => {
  for (;;) {
    try {
      writeSync(1, `${word} ${seq}\n`);
      return;
    } catch (error) {
      // The pipe is full because the parent has no time to read: then this process waits.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        throw error;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
};

async function main(task: KillTask): Promise<void> {
  const module = (await import(pathToFileURL(task.module).href)) as Record<string, unknown>;
  const exported = module[task.exportName] ?? (module.default as Record<string, unknown>)?.[task.exportName];
  const { creds, keys, saveCreds } = wrap(await (exported as AuthStateFactory)(task.location));
  say('open');
  const underWay: Promise<void>[] = [];
  for (let seq = task.from; ; seq++) {
    if (seq % SAVE_EVERY === 0) {
      creds.nextPreKeyId = seq;
      underWay.push(Promise.resolve(saveCreds()).then(() => say('creds', seq)));
    }
    underWay.push(keys.set(patchOf(seq)).then(() => say('patch', seq)));
    while (underWay.length >= task.depth) {
      await underWay.shift();
    }
  }
}

main(JSON.parse(process.argv[2] as string) as KillTask).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
