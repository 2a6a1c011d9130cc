import { ROW_PER_KEY } from './peers/pg-stores.js';
import { BEHIND, BARE as HYBRID_BARE, hybridCase, THROUGH } from './scenarios/hybrid.js';
import { caseName } from './scenarios/keys.js';
import { CORE_CASE } from './scenarios/memory.js';
import { OPEN_CASE } from './scenarios/open.js';
import { CONNECTED, PEERS, PEERS_OPEN_CASE, peersCase } from './scenarios/peers.js';
import { postgresCase } from './scenarios/postgres.js';
import { BARE, GET_CASE, IN_JS, loadCase } from './scenarios/redis.js';
import { SCALE_CORE_CASE, SCALE_MODES } from './scenarios/scale.js';
import { BASELINE, OURS } from './support/contenders.js';
import type { Result } from './support/measure.js';

/** What the store is meant to cost. */
interface Verdict {
  target: string;
  measured: number;
  limit: number;
  bound: 'at most' | 'at least';
  met: boolean;
}

type Target = [name: string, measured: number | undefined, bound: Verdict['bound'], limit: number];
type Find = (name: string, contender?: string) => number | undefined;

const over = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a / b;

/** The targets that these results say something about. */
export function judge(results: readonly Result[]): Verdict[] {
  const find: Find = (name, contender = OURS) =>
    results.find((result) => result.case === name && result.contender === contender)?.median;
  return [
    ...embedded(find),
    ...redis(find),
    ...postgres(find),
    ...peers(find),
    ...hybrid(find),
    ...scale(find),
  ].flatMap(([target, measured, bound, limit]) =>
    measured === undefined
      ? []
      : [
          {
            target,
            measured,
            limit,
            bound,
            met: bound === 'at most' ? measured <= limit : measured >= limit,
          },
        ],
  );
}

function embedded(find: Find): Target[] {
  const against = (name: string) => over(find(name), find(name, BASELINE));
  const growth = (call: string) => over(find(caseName(call, 100_000)), find(caseName(call, 10)));
  const get = 'get, cached session record';
  const one = 'set of 1 record';
  const five = caseName('set of 5 records', 1_000);
  return [
    ['a cached get, awaited, in µs', find(caseName(get, 1_000)), 'at most', 10],
    [`a set of 1 record, of ${BASELINE}’s time`, against(caseName(one, 1_000)), 'at most', 1 / 5],
    [`a set of 5 records, of ${BASELINE}’s time`, against(five), 'at most', 1 / 5],
    ['a get with 100,000 keys stored, of that with 10', growth(get), 'at most', 1.2],
    ['a set with 100,000 keys stored, of that with 10', growth(one), 'at most', 1.2],
    [`opening and a first get, of ${BASELINE}’s time`, against(OPEN_CASE), 'at most', 1 / 5],
    ['an idle session in the core, in KiB', find(CORE_CASE), 'at most', 4],
  ];
}

function postgres(find: Find): Target[] {
  const against = (
    sessions: number,
    figure: 'sets per second' | 'event-loop time per set' | 'latency, median',
  ) => over(find(postgresCase(sessions, figure)), find(postgresCase(sessions, figure), ROW_PER_KEY));
  return [
    // A set alone waits for one flush of the log, whoever sends it.
    [`PostgreSQL: latency of a set alone, of ${ROW_PER_KEY}`, against(1, 'latency, median'), 'at most', 1.2],
    ...[100, 1_000].flatMap((sessions): Target[] => [
      [
        `PostgreSQL: sets of ${sessions.toLocaleString('en')} sessions at once, of ${ROW_PER_KEY}`,
        against(sessions, 'sets per second'),
        'at least',
        3,
      ],
      [
        `PostgreSQL: event-loop time of those, of ${ROW_PER_KEY}`,
        against(sessions, 'event-loop time per set'),
        'at most',
        1 / 3,
      ],
    ]),
  ];
}

function redis(find: Find): Target[] {
  const against = (name: string, contender: string) => over(find(name), find(name, contender));
  const rate = (sessions: number, contender: string) =>
    against(loadCase(sessions, 'sets per second'), contender);
  const loop = (sessions: number) => against(loadCase(sessions, 'event-loop time per set'), BARE);
  return [
    ['Redis: a cached get, awaited, in µs', find(GET_CASE), 'at most', 10],
    ['Redis: a cached get, of a bare HMGET’s time', against(GET_CASE, BARE), 'at most', 1 / 5],
    [
      'Redis: latency of a set alone, of a bare HSET’s',
      against(loadCase(1, 'latency, median'), BARE),
      'at most',
      1.5,
    ],
    ['Redis: sets of 100 sessions at once, of bare HSETs', rate(100, BARE), 'at least', 1.2],
    ['Redis: sets of 1,000 sessions at once, of bare HSETs', rate(1_000, BARE), 'at least', 1.5],
    ['Redis: sets of 100 sessions, of the same guarantees in JS', rate(100, IN_JS), 'at least', 4],
    ['Redis: sets of 1,000 sessions, of the same guarantees in JS', rate(1_000, IN_JS), 'at least', 4],
    ['Redis: event-loop time per set, 100 sessions, of a bare HSET’s', loop(100), 'at most', 1 / 4],
    ['Redis: event-loop time per set, 1,000 sessions, of a bare HSET’s', loop(1_000), 'at most', 1 / 4],
  ];
}

function peers(find: Find): Target[] {
  const fastest = Math.min(...PEERS.map((peer) => find(PEERS_OPEN_CASE, peer) ?? Number.POSITIVE_INFINITY));
  const opening = (contender?: string) => over(find(PEERS_OPEN_CASE, contender), fastest);
  const growth = (call: Parameters<typeof peersCase>[0]) =>
    over(find(peersCase(call, 100_000)), find(peersCase(call, 10)));
  return [
    [
      'Redis: opening and a first get, with a connection to make, of the fastest peer’s time',
      opening(),
      'at most',
      1 / 5,
    ],
    [
      'Redis: opening and a first get, connected already, of the fastest peer’s time',
      opening(CONNECTED),
      'at most',
      1 / 5,
    ],
    ['Redis: a get with 100,000 keys stored, of that with 10', growth('get of 1 record'), 'at most', 1.2],
    ['Redis: a set with 100,000 keys stored, of that with 10', growth('set of 1 record'), 'at most', 1.2],
  ];
}

function hybrid(find: Find): Target[] {
  const set = (size: number) => hybridCase('set of 1 record', size);
  const get = (size: number) => hybridCase('get of 1 record', size);
  const growth = (name: (size: number) => string, contender: string) =>
    over(find(name(100_000), contender), find(name(10), contender));
  return [
    ['hybrid: a cached get, awaited, in µs', find(get(1_000), THROUGH), 'at most', 10],
    [
      'hybrid: a cached get, of a bare HMGET’s time',
      over(find(get(1_000), THROUGH), find(get(1_000), HYBRID_BARE)),
      'at most',
      1 / 5,
    ],
    ['hybrid: a get with 100,000 keys stored, of that with 10', growth(get, THROUGH), 'at most', 1.2],
    ['write-through: a set with 100,000 keys stored, of that with 10', growth(set, THROUGH), 'at most', 1.2],
    ['write-behind: a set with 100,000 keys stored, of that with 10', growth(set, BEHIND), 'at most', 1.2],
  ];
}

function scale(find: Find): Target[] {
  return SCALE_MODES.map((mode) => [
    `${mode}: an idle session of thousands outside of the JS heap and the cache, in KiB`,
    find(SCALE_CORE_CASE, mode),
    'at most',
    4,
  ]);
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(
    ({ target, measured, bound, limit, met }) =>
      `| ${target} | ${measured.toPrecision(3)} | ${bound} ${limit.toPrecision(2)} | ${met ? 'met' : '**missed**'} |`,
  );
  return ['| target | measured | meant | |', '| --- | ---: | ---: | --- |', ...rows].join('\n');
}
