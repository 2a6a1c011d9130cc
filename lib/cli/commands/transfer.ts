import type { OptionSpecs, Result } from '../command.js';
import { type CopyReport, copySessions } from '../copy.js';
import { DEFAULT_JOBS, exitCodeOfAll, leftLine, notDoneLines } from '../each-session.js';
import { usage } from '../errors.js';
import type { Keys } from '../keys.js';
import type { Output } from '../output.js';
import type { Address } from '../stores/address.js';
import type { SessionStore } from '../stores/store.js';
import type { Style } from '../style.js';
import { sumOf } from '../summary.js';
import { bytes, plural, table } from '../text.js';

/** What `copy`, `import` and `export` have in common. */

export const TRANSFER_OPTIONS = {
  plain: { kind: 'flag', about: 'store the sessions readable, if there is no master key for the target' },
  'dry-run': { kind: 'flag', short: 'n', about: 'only look: say what would be done, and write nothing' },
  jobs: {
    kind: 'count',
    short: 'j',
    value: '<number>',
    about: `sessions to copy at a time, all of which are in memory; default ${DEFAULT_JOBS}`,
  },
} as const satisfies OptionSpecs;

interface Transfer {
  from: SessionStore;
  to: SessionStore;
  sessions: readonly string[];
  nameIn?: (sessionId: string) => string;
  options: { readonly jobs?: number | undefined; readonly 'dry-run': boolean };
  output: Output;
  signal: AbortSignal;
}

/** Sealing is left out on purpose or not at all: a variable that is not set must not store keys readable. */
export function checkSealed(address: Address, keys: Keys, plain: boolean, variables: string): void {
  if (!('options' in address)) {
    return;
  }
  if (keys.masterKey === undefined && !plain) {
    throw usage(
      `there is no master key for ${address.shown}: the sessions would be stored readable`,
      `Give the key that your bots use (${variables}), or --plain if they use none.`,
    );
  }
  if (keys.masterKey !== undefined && plain) {
    throw usage(
      '--plain and a master key cannot be given together',
      `Unset ${variables}, or leave --plain out.`,
    );
  }
}

export async function transfer({
  from,
  to,
  sessions,
  nameIn = (sessionId) => sessionId,
  options,
  output,
  signal,
}: Transfer): Promise<Result> {
  const dryRun = options['dry-run'];
  const report = await copySessions({
    ...{ from, to, sessions, nameIn, dryRun, output, signal },
    jobs: options.jobs,
  });
  const { copied, equal, notDone, left, digests } = report;
  return {
    data: {
      from: from.shown,
      to: to.shown,
      dryRun,
      sessions: sessions.length,
      copied,
      equal,
      left,
      notDone,
      ...sumOf(digests),
      types: Object.fromEntries(digests),
    },
    text: (style) => render(report, dryRun, style),
    exitCode: exitCodeOfAll(report, sessions.length),
  };
}

function render(report: CopyReport, dryRun: boolean, style: Style): string {
  const { copied, equal, notDone, digests } = report;
  const lines = notDoneLines('not copied', notDone, style);
  if (digests.size > 0) {
    lines.push(
      table(
        [...digests],
        [
          { title: 'TYPE', of: ([type]) => type },
          { title: 'RECORDS', of: ([, { records }]) => String(records), right: true },
          { title: 'SIZE', of: ([, digest]) => bytes(digest.bytes), right: true },
          { title: dryRun ? 'DIGEST' : 'DIGEST, BOTH', of: ([, { sha256 }]) => sha256.slice(0, 16) },
        ],
        (title) => style('dim', title),
      ),
    );
  }
  const parts = [
    `${plural(copied, 'session')} ${dryRun ? 'would be copied' : 'copied'}`,
    ...(equal > 0 ? [`${equal} equal already`] : []),
    ...(notDone.length > 0 ? [style('red', `${notDone.length} not copied`)] : []),
    ...leftLine(report),
  ];
  lines.push(parts.join(', '));
  if (!dryRun && copied > 0) {
    lines.push(style('dim', 'Each is now in two places: let a bot run on one of them only.'));
  }
  return lines.join('\n');
}
