import { defineCommand } from '../command.js';
import { EXIT } from '../errors.js';
import type { Output } from '../output.js';
import { inParallel } from '../pool.js';
import { describe } from '../report.js';
import { STORE_OPTIONS, withStore } from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import { type SessionSummary, summaryOf } from '../summary.js';
import { bytes, moment, plural, table } from '../text.js';

/** Sessions read at a time. */
const JOBS = 4;

interface Row {
  sessionId: string;
  summary?: SessionSummary;
  error?: { code: string; message: string };
}

export const list = defineCommand({
  name: 'list',
  summary: 'Lists the sessions of a store',
  description: 'Reads beside running bots and disturbs none.',
  args: [],
  options: {
    ...STORE_OPTIONS,
    long: {
      kind: 'flag',
      short: 'l',
      about: 'read each session, and show its account, records and last write',
    },
  },
  examples: ['list --store ./auth_info', 'list --long --store env:REDIS_URL'],
  run: ({ options, env, output, signal }) =>
    withStore(options, { env, output }, async (store) => {
      const names = await store.list();
      if (!options.long) {
        return {
          data: { store: store.shown, sessions: names.map((sessionId) => ({ sessionId })) },
          text: () => names.join('\n'),
        };
      }
      const rows = await readAll(store, names, output, signal);
      const failed = rows.filter(({ error }) => error !== undefined);
      return {
        data: {
          store: store.shown,
          sessions: rows.map(({ sessionId, summary, error }) => summary ?? { sessionId, error }),
        },
        text: (style) =>
          [
            table(
              rows,
              [
                { title: 'SESSION', of: ({ sessionId }) => sessionId },
                {
                  title: 'ACCOUNT',
                  of: ({ summary, error }) =>
                    error === undefined
                      ? (summary?.account?.id ?? style('dim', 'not paired'))
                      : style('red', error.code),
                },
                { title: 'VERSION', of: ({ summary }) => String(summary?.version ?? '–'), right: true },
                { title: 'RECORDS', of: ({ summary }) => String(summary?.records ?? '–'), right: true },
                { title: 'SIZE', of: ({ summary }) => (summary ? bytes(summary.bytes) : '–'), right: true },
                {
                  title: 'LAST WRITE',
                  of: ({ summary }) => (summary?.lastWrite ? moment(Date.parse(summary.lastWrite)) : '–'),
                },
              ],
              (title) => style('dim', title),
            ),
            ...failed.map(
              ({ sessionId, error }) => `${style('red', 'error:')} ${sessionId}: ${error?.message}`,
            ),
            style('dim', plural(rows.length, 'session')),
          ].join('\n'),
        exitCode: failed.length > 0 ? EXIT.damaged : EXIT.ok,
      };
    }),
});

async function readAll(
  store: SessionStore,
  names: readonly string[],
  output: Output,
  signal: AbortSignal,
): Promise<Row[]> {
  const rows = new Map<string, Row>();
  const progress = output.progress('reading', names.length);
  try {
    await inParallel(names, JOBS, signal, async (sessionId) => {
      try {
        const found = await store.read(sessionId);
        if (found !== undefined) {
          rows.set(sessionId, { sessionId, summary: summaryOf(sessionId, found) });
        }
      } catch (error) {
        const { code, message } = describe(error);
        rows.set(sessionId, { sessionId, error: { code, message } });
      }
      progress.step();
    });
  } finally {
    progress.end();
  }
  return names.flatMap((name) => rows.get(name) ?? []);
}
