import { ok, strictEqual } from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuthenticationCreds } from '../baileys/types.js';
import { sameIdentity } from './compare.js';
import { expectWholePatches, type KillTask } from './kill-patch.js';
import type { Opened } from './workbench.js';

/** One in so many kills comes before the store is open. */
const EARLY_ONE_IN = 8;
/** The others come after `open` and so many acknowledged patches at most, and a while of chance. */
const MOST_PATCHES = 8;
const LONGEST_DELAY_MS = 60;
/** For a slow machine to open a store and write; a process that is not so far by then is killed as it is. */
const PATIENCE_MS = 30_000;
const CHILD = join(__dirname, `kill-child${extname(__filename)}`);

interface KillLoop extends Omit<KillTask, 'from'> {
  kills: number;
  execArgv: readonly string[];
  /** Opens the session as a fresh program would. */
  open(): Promise<Opened>;
  /** Looks at the session after each kill, beside what the loop checks. */
  inspect?(opened: Opened): Promise<void>;
}

/** What the processes managed before they were killed. */
interface KillReport {
  /** Patches; none only where a process was given all the time there is. */
  acknowledged: number;
  early: number;
}

/** The last patch and the last creds. */
interface Acknowledged {
  patch: number;
  creds: number;
}

/** When a process is killed: a while after it has said so many words. */
interface Moment {
  early: boolean;
  patches: number;
}

/**
 * Kills processes at random instants of their writing, and fails unless every patch that one acknowledged is there
 * afterwards, none is there by half, and the credentials are the ones that were saved.
 */
export async function killLoop(loop: KillLoop): Promise<KillReport> {
  const first = await loop.open();
  const { creds } = first;
  creds.nextPreKeyId = 0;
  await first.saveCreds();
  await first.close();
  let last: Acknowledged = { patch: 0, creds: 0 };
  let early = 0;
  let acknowledged = 0;
  for (let kill = 1; kill <= loop.kills; kill++) {
    const moment = pickMoment();
    if (kill === loop.kills && acknowledged === 0) {
      // Else the whole loop would have shown nothing.
      Object.assign(moment, { early: false, patches: Math.max(moment.patches, 1) });
    }
    const said = await writeAndKill(loop, last.patch + 1, moment);
    early += moment.early ? 1 : 0;
    acknowledged += said.patches;
    last = await check(loop, creds, {
      patch: Math.max(last.patch, said.patch),
      creds: Math.max(last.creds, said.creds),
    });
  }
  return { acknowledged, early };
}

const pickMoment = (): Moment => ({
  early: Math.random() * EARLY_ONE_IN < 1,
  patches: Math.floor(Math.random() * (MOST_PATCHES + 1)),
});

async function check(
  loop: KillLoop,
  creds: AuthenticationCreds,
  atLeast: Acknowledged,
): Promise<Acknowledged> {
  const opened = await loop.open();
  ok(sameIdentity(opened.creds, creds), 'a new identity took the place of the saved one');
  const saved = opened.creds.nextPreKeyId;
  ok(
    saved >= atLeast.creds,
    `creds of patch ${atLeast.creds} were acknowledged, those of ${saved} are there`,
  );
  const patch = await expectWholePatches(opened.keys);
  ok(patch >= atLeast.patch, `patch ${atLeast.patch} was acknowledged, the last one there is ${patch}`);
  await loop.inspect?.(opened);
  await opened.close();
  return { patch, creds: saved };
}

async function writeAndKill(
  loop: KillLoop,
  from: number,
  { early, patches }: Moment,
): Promise<Acknowledged & { patches: number }> {
  const { module, exportName, location, depth } = loop;
  const task: KillTask = { module, exportName, location, from, depth };
  const child = spawn(process.execPath, [...loop.execArgv, CHILD, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close') as Promise<[code: number | null, signal: string | null]>;
  let said = '';
  let failure = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    failure += text;
  });
  const farEnough = new Promise<void>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (wordsOf(said, 'patch').length >= patches) {
        resolve();
      }
    });
  });
  if (!early) {
    await Promise.race([farEnough, closed, sleep(PATIENCE_MS, undefined, { ref: false })]);
  }
  await sleep(Math.random() * (early ? LONGEST_DELAY_MS * 4 : LONGEST_DELAY_MS));
  child.kill('SIGKILL');
  const [, signal] = await closed;
  strictEqual(signal, 'SIGKILL', `the writing process ended by itself: ${failure}`);
  const acknowledged = wordsOf(said, 'patch');
  return {
    patches: acknowledged.length,
    patch: Math.max(0, ...acknowledged),
    creds: Math.max(0, ...wordsOf(said, 'creds')),
  };
}

/** Numbers that were said with a word, in order. */
function wordsOf(said: string, word: string): number[] {
  // The last line may be cut short only where the process died in saying it: then it was not said.
  const lines = said.slice(0, said.lastIndexOf('\n') + 1).split('\n');
  return lines
    .filter((line) => line.startsWith(`${word} `))
    .map((line) => Number(line.slice(word.length + 1)));
}
