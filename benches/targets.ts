import { caseName } from './scenarios/keys.js';
import { CORE_CASE } from './scenarios/memory.js';
import { OPEN_CASE } from './scenarios/open.js';
import { BASELINE, OURS } from './support/contenders.js';
import type { Result } from './support/measure.js';

/** What the embedded store is meant to cost. */
export interface Verdict {
  target: string;
  measured: number;
  limit: number;
  met: boolean;
}

/** The targets that these results say something about. */
export function judge(results: readonly Result[]): Verdict[] {
  const find = (name: string, contender = OURS): number | undefined =>
    results.find((result) => result.case === name && result.contender === contender)?.median;
  const over = (a: number | undefined, b: number | undefined): number | undefined =>
    a === undefined || b === undefined ? undefined : a / b;
  const against = (name: string) => over(find(name), find(name, BASELINE));
  const growth = (call: string) => over(find(caseName(call, 100_000)), find(caseName(call, 10)));
  const get = 'get, cached session record';
  const one = 'set of 1 record';
  const targets: [string, number | undefined, number][] = [
    ['a cached get, awaited, in µs', find(caseName(get, 1_000)), 10],
    [`a set of 1 record, of ${BASELINE}’s time`, against(caseName(one, 1_000)), 1 / 5],
    [`a set of 5 records, of ${BASELINE}’s time`, against(caseName('set of 5 records', 1_000)), 1 / 5],
    ['a get with 100,000 keys stored, of that with 10', growth(get), 1.2],
    ['a set with 100,000 keys stored, of that with 10', growth(one), 1.2],
    [`opening and a first get, of ${BASELINE}’s time`, against(OPEN_CASE), 1 / 5],
    ['an idle session in the core, in KiB', find(CORE_CASE), 4],
  ];
  return targets.flatMap(([target, measured, limit]) =>
    measured === undefined ? [] : [{ target, measured, limit, met: measured <= limit }],
  );
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(
    ({ target, measured, limit, met }) =>
      `| ${target} | ${measured.toPrecision(3)} | ${limit.toPrecision(2)} | ${met ? 'met' : '**missed**'} |`,
  );
  return ['| target | measured | at most | |', '| --- | ---: | ---: | --- |', ...rows].join('\n');
}
