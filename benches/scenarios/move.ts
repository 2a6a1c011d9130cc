import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { logger, MASTER_KEY } from '../support/contenders.js';
import type { Result } from '../support/measure.js';
import { vault } from '../support/packages.js';
import { connectRedis, missing, REDIS_NOTE, redisPlace } from '../support/servers.js';
import type { Scenario, Setup } from './scenario.js';

const SESSIONS = 10_000;
const QUICK_SESSIONS = 500;
/** Records of each session, the creds among them. */
const RECORDS = 200;
const WRITTEN_AT_A_TIME = 32;
const COMMAND = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const CONTENDER = 'baileys-vault copy';

/** What the command reports with `--json`. */
interface Report {
  copied: number;
  equal: number;
  left: number;
  notDone: unknown[];
  types: Record<string, { records: number; sha256: string }>;
}

interface Run {
  seconds: number;
  peakMiB: number;
  /** Undefined where it was killed. */
  report: Report | undefined;
}

/** Thousands of sessions moved from one server to another by the command line, killed half-way, and then finished. */
export const move: Scenario = {
  id: 'move',
  title: `Moving ${SESSIONS.toLocaleString('en')} sessions of ${RECORDS} records between two servers, killed half-way`,
  heavy: true,
  missing: () => missing('redis'),
  run: async (setup) => {
    setup.note(REDIS_NOTE);
    const sessions = setup.quick ? QUICK_SESSIONS : SESSIONS;
    const [from, to] = [await redisPlace(), await redisPlace()];
    const target = await connectRedis(to.url);
    try {
      await fillSource(from.url, sessions, setup);
      setup.progress('move: until half is there, and SIGKILL');
      const half = await runCopy(from.url, to.url, async (child) => {
        while ((await target.dbsize()) < sessions / 2 && child.exitCode === null) {
          await sleep(20);
        }
        child.kill('SIGKILL');
      });
      setup.progress('move: the rest');
      const rest = await runCopy(from.url, to.url);
      setup.progress('move: once more, to compare everything');
      const again = await runCopy(from.url, to.url);
      check(rest, again, sessions);
      const of = (name: string, unit: Result['unit'], value: number): Result => ({
        scenario: 'move',
        case: name,
        contender: CONTENDER,
        unit,
        median: value,
        samples: [value],
      });
      const { report } = rest;
      return [
        of('sessions copied by the run that went on', 'count', report?.copied ?? 0),
        of('sessions that it found there, read and compared', 'count', report?.equal ?? 0),
        of('first run, until it was killed', 'ms', half.seconds * 1_000),
        of('second run, to the end', 'ms', rest.seconds * 1_000),
        of(
          'records copied and compared each second',
          '1/s',
          ((report?.copied ?? 0) * RECORDS) / rest.seconds,
        ),
        of('third run, which only compares', 'ms', again.seconds * 1_000),
        of('resident memory, at most', 'KiB', Math.max(half.peakMiB, rest.peakMiB, again.peakMiB) * 1_024),
      ];
    } finally {
      target.disconnect();
      await Promise.all([from.stop(), to.stop()]);
    }
  },
};

/** Each session has keys of its own, so that one in another's place would be noticed. */
async function fillSource(
  url: string,
  sessions: number,
  { baileys, records, progress }: Setup,
): Promise<void> {
  const store = await vault.createRedisStore({ redisUrl: url, masterKey: MASTER_KEY, logger });
  try {
    for (let from = 0; from < sessions; from += WRITTEN_AT_A_TIME) {
      if (from % (WRITTEN_AT_A_TIME * 32) === 0) {
        progress(`move: ${from} of ${sessions} sessions written`);
      }
      const names = Array.from({ length: Math.min(WRITTEN_AT_A_TIME, sessions - from) }, (_, n) => from + n);
      await Promise.all(
        names.map((number) => {
          const chats = records.hot.map(([id]) => [id, records.session]);
          const filler = Array.from({ length: RECORDS - 1 - chats.length }, (_, n) => [
            `${n}.${number}`,
            Buffer.alloc(33, number),
          ]);
          const keys = { session: Object.fromEntries(chats), 'identity-key': Object.fromEntries(filler) };
          return store.set(`bot-${number}`, { creds: baileys.initAuthCreds(), keys } as never, 0);
        }),
      );
    }
  } finally {
    await store.close();
  }
}

async function runCopy(
  from: string,
  to: string,
  meanwhile?: (child: ChildProcess) => Promise<void>,
): Promise<Run> {
  const env = {
    ...process.env,
    BAILEYS_VAULT_FROM: from,
    BAILEYS_VAULT_TO: to,
    BAILEYS_VAULT_MASTER_KEY: MASTER_KEY,
  };
  const begun = performance.now();
  const child = spawn(process.execPath, [COMMAND, 'copy', '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'exit');
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  let peakMiB = Number.NaN;
  const look = setInterval(() => {
    peakMiB = peakOf(child.pid) ?? peakMiB;
  }, 50);
  await meanwhile?.(child);
  const [code] = await ended;
  clearInterval(look);
  const seconds = (performance.now() - begun) / 1_000;
  if (meanwhile === undefined && code !== 0) {
    throw new Error(`copy ended with ${code}: ${text}`);
  }
  return { seconds, peakMiB, report: code === 0 ? (JSON.parse(text) as Report) : undefined };
}

/** The most memory that a process had so far, MiB; undefined where the system does not tell. */
function peakOf(pid: number | undefined): number | undefined {
  try {
    const kib = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kib === undefined ? undefined : Number(kib) / 1_024;
  } catch {
    return undefined;
  }
}

/** A figure of a copy that is not whole would be worth nothing. */
function check({ report }: Run, again: Run, sessions: number): void {
  if (report === undefined || report.copied === 0 || report.equal === 0) {
    throw new Error('the first run was not killed half-way: it copied all, or nothing');
  }
  const records = Object.values(report.types).reduce((sum, type) => sum + type.records, 0);
  if (report.copied + report.equal !== sessions || records !== sessions * RECORDS) {
    throw new Error(`${report.copied} and ${report.equal} of ${sessions} sessions, ${records} records`);
  }
  if (
    again.report?.equal !== sessions ||
    JSON.stringify(again.report.types) !== JSON.stringify(report.types)
  ) {
    throw new Error('what is stored is not what the copy reported');
  }
}
