/** Numbers, times and tables for people. */

const KILO = 1024;
const UNITS = ['KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(count: number): string {
  let value = count;
  let unit = 'B';
  for (const next of UNITS) {
    if (value < KILO) {
      break;
    }
    value /= KILO;
    unit = next;
  }
  return unit === 'B' ? `${value} B` : `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

const STEPS: readonly (readonly [seconds: number, unit: string])[] = [
  [86_400, 'd'],
  [3_600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** The two largest units of a time: `3 d 4 h`, `12 s`. */
export function duration(seconds: number): string {
  let left = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, unit] of STEPS) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) {
      parts.push(`${count} ${unit}`);
    } else if (parts.length > 0) {
      break;
    }
    if (parts.length === 2) {
      break;
    }
  }
  return parts.length === 0 ? '0 s' : parts.join(' ');
}

/** A moment, and how long ago it was. */
export function moment(at: number, now = Date.now()): string {
  return `${new Date(at).toISOString().replace(/\.\d+Z$/, 'Z')} (${duration((now - at) / 1000)} ago)`;
}

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

export interface Column<Row> {
  title: string;
  of: (row: Row) => string;
  right?: boolean;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences that colours are made of
const COLOURS = /\u001b\[[\d;]*m/g;
const widthOf = (text: string): number => text.replace(COLOURS, '').length;

function pad(text: string, width: number, right = false): string {
  const space = ' '.repeat(Math.max(0, width - widthOf(text)));
  return right ? space + text : text + space;
}

/** Rows under their titles; no frame, so that a terminal's copy and `awk` both work. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  heading = (text: string) => text,
): string {
  const cells = [
    columns.map(({ title }) => heading(title)),
    ...rows.map((row) => columns.map(({ of }) => of(row))),
  ];
  const widths = columns.map((_, at) => Math.max(...cells.map((line) => widthOf(line[at] as string))));
  return cells
    .map((line) =>
      line
        .map((cell, at) => pad(cell, widths[at] as number, columns[at]?.right))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Facts, one a line, their names in a column. */
export function facts(
  pairs: readonly (readonly [name: string, value: string])[],
  style = (text: string) => text,
): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${style(name.padEnd(width))}  ${value}`).join('\n');
}
