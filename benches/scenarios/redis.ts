import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { jsGuarantees } from '../peers/js-guarantees.js';
import { PER_FIELD, perField } from '../peers/per-field.js';
import { logger, MASTER_KEY, OURS } from '../support/contenders.js';
import { type Load, load } from '../support/load.js';
import { interleave, median, type Result, repeated, resultOf } from '../support/measure.js';
import { type KeyStore, type Patch, vault } from '../support/packages.js';
import { connectRedis, missing, REDIS_NOTE, redisPlace } from '../support/servers.js';
import type { Scenario, Setup } from './scenario.js';

const SESSIONS = [1, 10, 100, 1_000];
const QUICK_SESSIONS = [1, 100];
const BUDGET_MS = 400;
const QUICK_BUDGET_MS = 120;
const ROUNDS = 5;
/** Opened at a time. */
const OPEN_STEP = 100;

export const BARE = 'bare HSET';
const PIPELINED = 'auto-pipelining HSET';
export const IN_JS = 'same guarantees in JS';

const FIGURES = [
  { name: 'sets per second', unit: '1/s', of: ({ perSecond }: Load) => perSecond },
  { name: 'latency, median', unit: 'µs', of: ({ latencyMs }: Load) => latencyMs * 1_000 },
  { name: 'event-loop time per set', unit: 'µs', of: ({ loopUs }: Load) => loopUs },
  { name: 'CPU of the JS thread per set', unit: 'µs', of: ({ threadUs }: Load) => threadUs },
  { name: 'CPU of the process per set', unit: 'µs', of: ({ processUs }: Load) => processUs },
] as const;

type Figure = (typeof FIGURES)[number]['name'];

export const loadCase = (sessions: number, figure: Figure): string =>
  `${sessions.toLocaleString('en')} ${sessions === 1 ? 'session' : 'sessions'}: ${figure}`;
export const GET_CASE = 'get of a cached session record, awaited (bare: HMGET)';

type Opened = Awaited<ReturnType<typeof vault.useRedisAuthState>>;

/** One record, sealed, fenced and versioned, beside connections that do less. All in the same rounds. */
export const redis: Scenario = {
  id: 'redis',
  title: 'Redis: set of 1 record, sealed, fenced, versioned; as many sessions writing at once',
  baseline: BARE,
  missing: () => missing('redis'),
  run: async (setup) => {
    setup.note(REDIS_NOTE);
    const server = await redisPlace();
    const connections: Redis[] = [];
    const connect = async (options = {}): Promise<Redis> => {
      const connection = await connectRedis(server.url, options);
      connections.push(connection);
      return connection;
    };
    try {
      const bare = await connect();
      const pipelined = await connect({ enableAutoPipelining: true });
      const perFieldConnection = await connect();
      const inJs = jsGuarantees(await connect(), setup.baileys, Buffer.from(MASTER_KEY, 'hex'));
      const stored = await storedBytes(server.url, bare, setup);
      setup.note(
        `HSET and HMGET carry ${stored.length} bytes, which is what the vault stores for the record.`,
      );
      const results: Result[] = [];
      for (const sessions of setup.quick ? QUICK_SESSIONS : SESSIONS) {
        const names = Array.from({ length: sessions }, (_, n) => `bench-${sessions}-${n}`);
        setup.progress(`redis: opening ${sessions} sessions`);
        const opened = await openAll(server.url, names, setup);
        const js = await Promise.all(names.map(inJs));
        const fields = names.map((name) => perField(perFieldConnection, setup.baileys, name));
        const patch = patchOf(setup);
        const fieldOf = (n: number): string => `session:${setup.records.hot[n % setup.records.hot.length]}`;
        const hset = (connection: Redis, prefix: string) =>
          names.map((name, n) => {
            const key = `${prefix}:{${name}}`;
            return () => connection.hset(key, fieldOf(n), stored);
          });
        const writers = new Map<string, (() => Promise<unknown>)[]>([
          [
            OURS,
            opened.map(
              ({ state }, n) =>
                () =>
                  (state.keys as unknown as KeyStore).set(patch(n)),
            ),
          ],
          [BARE, hset(bare, 'bare')],
          [PIPELINED, hset(pipelined, 'auto')],
          [PER_FIELD, fields.map((keys, n) => () => keys.set(patch(n)))],
          [IN_JS, js.map((session, n) => () => session.set(patch(n)))],
        ]);
        try {
          results.push(
            ...(await measureLoad('redis', (figure) => loadCase(sessions, figure), writers, setup)),
          );
          if (sessions === 1) {
            results.push(...(await measureGet(opened[0] as Opened, bare, setup)));
          }
        } finally {
          await Promise.all(opened.map(({ store }) => store.close()));
        }
      }
      return results;
    } finally {
      for (const connection of connections) {
        connection.disconnect();
      }
      await server.stop();
    }
  },
};

export const openOne = (url: string, sessionId: string, { baileys }: Setup): Promise<Opened> =>
  vault.useRedisAuthState({
    sessionId,
    redis: { redisUrl: url },
    masterKey: MASTER_KEY,
    baileys,
    logger,
  });

async function openAll(url: string, names: readonly string[], setup: Setup): Promise<Opened[]> {
  const opened: Opened[] = [];
  for (let from = 0; from < names.length; from += OPEN_STEP) {
    const step = names.slice(from, from + OPEN_STEP);
    opened.push(...(await Promise.all(step.map((name) => openOne(url, name, setup)))));
  }
  return opened;
}

/** As many random bytes as the vault stores for the session record. */
async function storedBytes(url: string, redis: Redis, setup: Setup): Promise<Buffer> {
  const { state, store } = await openOne(url, 'bench-size', setup);
  await (state.keys as unknown as KeyStore).set(setup.records.one[0] as Patch);
  await store.close();
  let longest = 0;
  for (const key of await redis.keys('*bench-size*')) {
    if ((await redis.type(key)) === 'hash') {
      const values = Object.values(await redis.hgetallBuffer(key));
      longest = Math.max(longest, ...values.map(({ length }) => length));
    }
  }
  if (longest < 500) {
    throw new Error('the stored session record was not found in Redis');
  }
  return randomBytes(longest);
}

/** The calls of a session that writes a record of its own; `n` counts sessions. */
export const patchOf =
  ({ records: { one } }: Setup) =>
  (n: number): Patch =>
    one[n % one.length] as Patch;

/** All contenders in turn, each with all of its writers at once. */
export async function measureLoad(
  scenario: string,
  nameOf: (figure: Figure) => string,
  writers: ReadonlyMap<string, readonly (() => Promise<unknown>)[]>,
  { quick, progress }: Setup,
): Promise<Result[]> {
  const budget = quick ? QUICK_BUDGET_MS : BUDGET_MS;
  const rounds = quick ? 3 : ROUNDS;
  const order = [...writers];
  const measured = new Map(order.map(([name]) => [name, [] as Load[]]));
  // One round more than counts: the first warms up.
  for (let round = 0; round <= rounds; round++) {
    progress(`${nameOf('sets per second')}, round ${round}`);
    for (let index = 0; index < order.length; index++) {
      const [name, calls] = order[(index + round) % order.length] as (typeof order)[0];
      const figures = await load(calls, budget);
      if (round > 0) {
        measured.get(name)?.push(figures);
      }
    }
  }
  return FIGURES.flatMap(({ name, unit, of }) =>
    [...measured].map(([contender, loads]): Result => {
      const samples = loads.map(of);
      return { scenario, case: nameOf(name), contender, unit, median: median(samples), samples };
    }),
  );
}

async function measureGet({ state }: Opened, bare: Redis, setup: Setup): Promise<Result[]> {
  const [id] = setup.records.hot[0] as [string];
  const { keys } = state as unknown as { keys: KeyStore };
  const found = await keys.get('session', [id]);
  if (found[id] === undefined) {
    throw new Error('the session record cannot be read back');
  }
  const field = `session:${id}`;
  const measured = await interleave(
    [
      { contender: OURS, work: repeated(() => keys.get('session', [id])) },
      { contender: BARE, work: repeated(() => bare.hmgetBuffer('bare:{bench-1-0}', field)) },
    ],
    setup.effort,
  );
  return measured.map(({ subject, samples }) =>
    resultOf('redis', GET_CASE, subject.contender, 'µs', samples),
  );
}
