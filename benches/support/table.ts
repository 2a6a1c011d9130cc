import { BASELINE } from './contenders.js';
import type { Result } from './measure.js';

function figure(value: number): string {
  if (!Number.isFinite(value)) {
    return '–';
  }
  if (Math.abs(value) >= 1_000) {
    return Math.round(value).toLocaleString('en');
  }
  return value.toPrecision(3).replace(/\.0+$|(\.\d*?)0+$/, '$1');
}

/** `0.12×`: how it compares with the baseline. */
const ratio = (value: number, baseline: number | undefined): string =>
  baseline === undefined ? '' : ` (${figure(value / baseline)}×)`;

const labelOf = (result: Result | undefined): string =>
  result?.unit === 'count' ? result.case : `${result?.case}, ${result?.unit}`;

/** One row for each case, one column for each contender, each with its ratio to the baseline. */
export function tableOf(results: readonly Result[], against: string = BASELINE): string {
  const contenders = [...new Set(results.map(({ contender }) => contender))];
  const cases = [...new Set(results.map((result) => result.case))];
  const rows = cases.map((name) => {
    const own = results.filter((result) => result.case === name);
    const baseline = own.find(({ contender }) => contender === against)?.median;
    const cells = contenders.map((contender) => {
      const found = own.find((result) => result.contender === contender);
      if (found === undefined) {
        return '–';
      }
      const compared = contender === against ? '' : ratio(found.median, baseline);
      return `${figure(found.median)}${compared}`;
    });
    return `| ${[labelOf(own[0]), ...cells].join(' | ')} |`;
  });
  const head = `| | ${contenders.join(' | ')} |`;
  const rule = `| --- | ${contenders.map(() => '---:').join(' | ')} |`;
  return [head, rule, ...rows].join('\n');
}
