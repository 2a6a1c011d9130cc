/**
 * Makes sure that no server outlives the process that started it, however that process ends.
 *
 * Exit handlers do not run on SIGKILL, which is how a test runner ends a file that hangs, and a stopped
 * (SIGSTOP) server ignores everything milder. So a small shell waits for its standard input to close, which
 * the kernel does for us in every case, then kills what it was told to own and removes the scratch folder.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, realpathSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SCRIPT = `
trap '' HUP INT TERM
pids='' dir=''
while read -r verb value; do
  case $verb in
    own) pids="$pids $value" ;;
    disown)
      kept=''
      for pid in $pids; do [ "$pid" = "$value" ] || kept="$kept $pid"; done
      pids=$kept ;;
    scratch) dir=$value ;;
  esac
done
for pid in $pids; do kill -9 "$pid"; done
[ -z "$dir" ] || rm -rf -- "$dir" || { sleep 1; rm -rf -- "$dir"; }
`;

interface Reaper {
  readonly scratch: string;
  tell(verb: 'own' | 'disown', pid: number): void;
}

let reaper: Reaper | undefined;

function startReaper(): Reaper {
  const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'baileys-vault-')));
  // Its own session, so that Ctrl-C in a terminal does not reach it before it has done its work.
  const shell: ChildProcess = spawn('/bin/sh', ['-c', SCRIPT], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  const input = shell.stdin as Socket;
  shell.unref();
  input.unref();
  input.write(`scratch ${scratch}\n`);
  return { scratch, tell: (verb, pid) => void input.write(`${verb} ${pid}\n`) };
}

function theReaper(): Reaper {
  reaper ??= startReaper();
  return reaper;
}

/** Folder for data and logs of this process' servers; removed when the process is gone. */
export function scratchDir(): string {
  return theReaper().scratch;
}

/** Kill `pid` when this process ends. */
export function own(pid: number): void {
  theReaper().tell('own', pid);
}

/** `pid` has ended by itself; its number may be reused by something that is not ours. */
export function disown(pid: number): void {
  theReaper().tell('disown', pid);
}
