import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Service } from '../../scripts/services/index.js';
import { MASTER_KEY, makeFolder } from '../support/contenders.js';
import type { Result } from '../support/measure.js';
import {
  missing,
  mongoNote,
  mongoPlace,
  POSTGRES_NOTE,
  postgresPlace,
  REDIS_NOTE,
  redisPlace,
} from '../support/servers.js';
import { measureHandover } from './handover.js';
import { CHILD, type Job } from './scale-job.js';
import type { Scenario, Setup } from './scenario.js';

const HANDED_OVER = 1_000;
const QUICK_HANDED_OVER = 100;

const MODES = ['embedded', 'Redis', 'PostgreSQL', 'hybrid'] as const;
type Mode = (typeof MODES)[number];
export const SCALE_MODES: readonly string[] = MODES;
export const SCALE_CORE_CASE = 'resident memory of an idle session outside of the JS heap and the cache';

const SESSIONS = 10_000;
const QUICK_SESSIONS = 1_000;

/** Calls under way at a time. The hybrid store waits for MongoDB, whose answers come later the more are asked for. */
const AT_A_TIME: Record<Mode, { opening: number; writing: number }> = {
  embedded: { opening: 256, writing: 1_000 },
  Redis: { opening: 256, writing: 1_000 },
  PostgreSQL: { opening: 256, writing: 1_000 },
  hybrid: { opening: 64, writing: 200 },
};

interface Phase {
  seconds: number;
  cpuShare: number;
  delay99: number;
  delayMax: number;
}

interface Figures {
  residentBytes: number;
  coreBytes: number;
  heapBytes: number;
  connections: number;
  threads: number;
  opening: Phase;
  idle: Phase;
  writing: Phase;
  again: Phase;
  closing: Phase;
}

type Row = [name: string, unit: Result['unit'], of: (figures: Figures, sessions: number) => number];

const ROWS: readonly Row[] = [
  ['opens per second', '1/s', ({ opening }, sessions) => sessions / opening.seconds],
  ['event-loop delay while opening, 99th percentile', 'ms', ({ opening }) => opening.delay99],
  ['event-loop delay while opening, longest', 'ms', ({ opening }) => opening.delayMax],
  ['resident memory of an idle session', 'KiB', ({ residentBytes }) => residentBytes / 1_024],
  [SCALE_CORE_CASE, 'KiB', ({ coreBytes }) => coreBytes / 1_024],
  ['memory of an idle session on the JS heap', 'KiB', ({ heapBytes }) => heapBytes / 1_024],
  ['CPU while all are idle, % of a core', 'count', ({ idle }) => idle.cpuShare * 100],
  ['event-loop delay while idle, 99th percentile', 'ms', ({ idle }) => idle.delay99],
  [
    'first set of every session, sets per second',
    '1/s',
    ({ writing }, sessions) => sessions / writing.seconds,
  ],
  ['second set of every session, sets per second', '1/s', ({ again }, sessions) => sessions / again.seconds],
  ['event-loop delay while writing, 99th percentile', 'ms', ({ again }) => again.delay99],
  ['event-loop delay while writing, longest', 'ms', ({ again }) => again.delayMax],
  ['closes per second', '1/s', ({ closing }, sessions) => sessions / closing.seconds],
  ['connections to Redis', 'count', ({ connections }) => connections],
  ['threads beside Node’s own', 'count', ({ threads }) => threads],
];

/** Many sessions of one process, each in a process of its own per backend, and two processes that hand sessions over. */
export const scale: Scenario = {
  id: 'scale',
  title: 'Scale: thousands of sessions open in one process, sealed',
  baseline: 'none',
  heavy: true,
  missing: () => (process.platform === 'linux' ? undefined : 'it reads /proc, which Linux alone has'),
  run: async (setup) => {
    const results: Result[] = [];
    setup.note(
      `A hook for each session; 256 opened at a time, 1,000 sets of 1 record under way (hybrid: 64 and 200).`,
    );
    for (const mode of MODES) {
      const without = missing(...NEEDS[mode]);
      if (without !== undefined) {
        setup.note(`${mode} is skipped: ${without}`);
        continue;
      }
      const sessions = setup.quick ? QUICK_SESSIONS : SESSIONS;
      setup.note(`${mode}: ${sessions.toLocaleString('en')} sessions in one process.`);
      try {
        results.push(...(await measureMode(mode, sessions, setup)));
      } catch (error) {
        // What the others have measured until then is worth having.
        setup.note(`${mode} **failed**: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return results;
  },
};

const NEEDS: Record<Mode, readonly Service[]> = {
  embedded: [],
  Redis: ['redis'],
  PostgreSQL: ['postgres'],
  hybrid: ['redis', 'mongo'],
};

async function measureMode(mode: Mode, sessions: number, setup: Setup): Promise<Result[]> {
  const stops: (() => Promise<unknown>)[] = [];
  const job: Job = { mode, masterKey: MASTER_KEY };
  try {
    if (mode === 'embedded') {
      const { folder, remove } = await makeFolder();
      stops.push(remove);
      job.folder = folder;
    } else if (mode === 'PostgreSQL') {
      setup.note(POSTGRES_NOTE);
      const postgres = await postgresPlace();
      stops.push(postgres.stop);
      job.postgresUrl = postgres.url;
    } else {
      setup.note(REDIS_NOTE);
      const redis = await redisPlace();
      stops.push(redis.stop);
      job.redisUrl = redis.url;
    }
    if (mode === 'hybrid') {
      setup.note(mongoNote());
      const mongo = await mongoPlace();
      stops.push(mongo.stop);
      job.mongoUrl = mongo.url;
    }
    setup.progress(`scale: ${sessions} sessions, ${mode}`);
    const figures = await runChild({
      ...job,
      sessions,
      ...AT_A_TIME[mode],
      record: setup.records.session,
    });
    const results = ROWS.map(([name, unit, of]): Result => {
      const value = of(figures, sessions);
      return { scenario: 'scale', case: name, contender: mode, unit, median: value, samples: [value] };
    });
    if (mode !== 'embedded') {
      setup.progress(`scale: handing over, ${mode}`);
      results.push(...(await measureHandover(job, setup.quick ? QUICK_HANDED_OVER : HANDED_OVER)));
    }
    return results;
  } finally {
    for (const stop of stops.reverse()) {
      await stop();
    }
  }
}

async function runChild(job: object): Promise<Figures> {
  const child = spawn(process.execPath, ['--expose-gc', CHILD, JSON.stringify(job)]);
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) {
    throw new Error(`the measuring process failed: ${errors}`);
  }
  return JSON.parse(output) as Figures;
}
