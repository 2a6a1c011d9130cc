import type { SessionHolder } from '../../store/types.js';
import { defineCommand } from '../command.js';
import { eachSession, notDoneLines } from '../each-session.js';
import { EXIT } from '../errors.js';
import { holderData, shortHolder } from '../holders.js';
import { STORE_OPTIONS, withStore } from '../stores/open.js';
import type { Style } from '../style.js';
import { type SessionSummary, summaryOf } from '../summary.js';
import { bytes, moment, plural, table } from '../text.js';

interface Row {
  sessionId: string;
  summary?: SessionSummary;
  /** Undefined where the store does not know. */
  holder?: SessionHolder | null | undefined;
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
      about: 'read each session, and show its account, who holds it, its records and last write',
    },
  },
  examples: ['list --store ./auth_info', 'list --long --store env:REDIS_URL'],
  run: ({ options, env, output, signal }) =>
    withStore(options, { env, output }, async (store) => {
      const sessions = await store.list();
      if (!options.long) {
        return {
          data: { store: store.shown, sessions: sessions.map((sessionId) => ({ sessionId })) },
          text: () => sessions.join('\n'),
        };
      }
      const found = new Map<string, Row>();
      const { notDone } = await eachSession(
        { sessions, doing: 'reading', output, signal },
        async (sessionId) => {
          const session = await store.read(sessionId);
          // One that was deleted since is no session any more.
          if (session !== undefined) {
            const holder = await store.holder?.(sessionId);
            found.set(sessionId, { sessionId, summary: summaryOf(sessionId, session), holder });
          }
        },
      );
      for (const { sessionId, ...error } of notDone) {
        found.set(sessionId, { sessionId, error });
      }
      const rows = sessions.flatMap((name) => found.get(name) ?? []);
      return {
        data: {
          store: store.shown,
          sessions: rows.map(({ sessionId, summary, holder, error }) =>
            summary === undefined
              ? { sessionId, error }
              : { ...summary, ...(holder !== undefined && { holder: holder && holderData(holder) }) },
          ),
        },
        text: (style) =>
          [
            render(rows, style),
            ...notDoneLines('not read', notDone, style),
            style('dim', plural(rows.length, 'session')),
          ].join('\n'),
        exitCode: notDone.length > 0 ? EXIT.damaged : EXIT.ok,
      };
    }),
});

const render = (rows: readonly Row[], style: Style): string =>
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
      ...(rows.some(({ holder }) => holder !== undefined)
        ? [{ title: 'HELD BY', of: ({ holder }: Row) => shortHolder(holder ?? null) }]
        : []),
      { title: 'VERSION', of: ({ summary }) => String(summary?.version ?? '–'), right: true },
      { title: 'RECORDS', of: ({ summary }) => String(summary?.records ?? '–'), right: true },
      { title: 'SIZE', of: ({ summary }) => (summary ? bytes(summary.bytes) : '–'), right: true },
      {
        title: 'LAST WRITE',
        of: ({ summary }) => (summary?.lastWrite ? moment(Date.parse(summary.lastWrite)) : '–'),
      },
    ],
    (title) => style('dim', title),
  );
