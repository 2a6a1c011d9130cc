import { CREDS_TYPE } from '../../store/records.js';
import type { SessionHolder } from '../../store/types.js';
import { defineCommand } from '../command.js';
import { noSession, noSuchSession, usage } from '../errors.js';
import { holderData, holderText } from '../holders.js';
import { nearest } from '../parse.js';
import { writeBufferJson } from '../stores/buffer-json.js';
import { STORE_OPTIONS, withStore } from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import type { Style } from '../style.js';
import { type SessionSummary, summaryOf } from '../summary.js';
import { bytes, facts, moment, table } from '../text.js';

export const show = defineCommand({
  name: 'show',
  summary: 'Shows what a session holds, without its secrets',
  description:
    'Counts and sizes are of the values as they are encoded, before sealing. The digest of a type is the same in every ' +
    'store that holds the same values. Reads beside a running bot and does not disturb it.',
  args: [{ name: 'session', about: 'name of the session; may be left out if there is one', required: false }],
  options: {
    ...STORE_OPTIONS,
    reveal: { kind: 'flag', about: 'show the credentials too, with all their keys' },
  },
  examples: ['show --store ./auth_info', 'show bot-1 --store redis://localhost:6379'],
  run: ({ args, options, env, output }) =>
    withStore(options, { env, output }, async (store) => {
      const sessionId = await oneSession(store, args[0]);
      const found = await store.read(sessionId);
      if (found === undefined) {
        throw noSuchSession(sessionId, store.shown);
      }
      const summary = summaryOf(sessionId, found);
      const holder = await store.holder?.(sessionId);
      const creds = found.records.find(({ type }) => type === CREDS_TYPE)?.value;
      const revealed = options.reveal ? writeBufferJson(creds ?? null, CREDS_TYPE, 2) : undefined;
      return {
        data: {
          store: store.shown,
          ...summary,
          ...(holder !== undefined && { holder: holder && holderData(holder) }),
          ...(revealed !== undefined && { creds: JSON.parse(revealed) as unknown }),
        },
        text: (style) =>
          [render(summary, holder, style), ...(revealed === undefined ? [] : ['', revealed])].join('\n'),
      };
    }),
});

/**
 * The session that was named, or the only one.
 *
 * @throws CliError when there is no such session, or more than one to choose from
 */
export async function oneSession(store: SessionStore, name: string | undefined): Promise<string> {
  if (name !== undefined && (await store.exists(name))) {
    return name;
  }
  const names = await store.list();
  if (name !== undefined) {
    const near = nearest(name, names);
    throw noSuchSession(
      name,
      store.shown,
      near === undefined ? undefined : `Did you mean ${JSON.stringify(near)}?`,
    );
  }
  const [only, ...others] = names;
  if (only === undefined) {
    throw noSession(store);
  }
  if (others.length > 0) {
    throw usage(
      `${store.shown} holds ${names.length} sessions: name one`,
      `They are listed by: baileys-vault list`,
    );
  }
  return only;
}

function render(summary: SessionSummary, holder: SessionHolder | null | undefined, style: Style): string {
  const { account, preKeys, lastWrite, oldestSession } = summary;
  const head = facts(
    [
      ['session', style('bold', summary.sessionId)],
      ['account', account?.id == null ? 'not paired' : [account.id, account.name].filter(Boolean).join(', ')],
      ...(account?.lid == null ? [] : ([['lid', account.lid]] as const)),
      ...(account?.platform == null ? [] : ([['phone', account.platform]] as const)),
      ...(holder === undefined ? [] : ([['held by', holderText(holder)]] as const)),
      ['version', summary.version === null ? 'not counted here' : String(summary.version)],
      ['last write', lastWrite === null ? 'not known' : moment(Date.parse(lastWrite))],
      ...(oldestSession === null ? [] : ([['oldest chat', moment(Date.parse(oldestSession))]] as const)),
      ['pre-keys', `${preKeys.uploaded} left, next ${preKeys.next ?? 'not known'}`],
      ['holds', `${summary.records} records, ${bytes(summary.bytes)}`],
    ],
    (name) => style('dim', name),
  );
  const types = table(
    Object.entries(summary.types),
    [
      { title: 'TYPE', of: ([type]) => type },
      { title: 'RECORDS', of: ([, { records }]) => String(records), right: true },
      { title: 'SIZE', of: ([, digest]) => bytes(digest.bytes), right: true },
      { title: 'DIGEST', of: ([, { sha256 }]) => sha256.slice(0, 16) },
    ],
    (title) => style('dim', title),
  );
  return `${head}\n\n${types}`;
}
