import { resolve } from 'node:path';
import { type BackedUp, type Manifest, readManifest } from '../backup/manifest.js';
import { restoreSession } from '../backup/restore.js';
import { defineCommand } from '../command.js';
import { eachSession, exitCodeOfAll, leftLine, notDoneLines } from '../each-session.js';
import { noSuchSession, usage } from '../errors.js';
import { readKeys } from '../keys.js';
import { nearest } from '../parse.js';
import type { Address } from '../stores/address.js';
import { addressOf, openSessions, STORE_KEYS, STORE_OPTIONS, using } from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import { plural } from '../text.js';
import { checkSealed, TRANSFER_OPTIONS } from './transfer.js';

export const restore = defineCommand({
  name: 'restore',
  summary: 'Restores sessions from a backup, but no older state over a newer one',
  description:
    'A session that is gone is restored as it was. If its bot has run since the backup, give --creds-only: the account ' +
    'stays paired, and what moves on with each message (session, sender-key) is left out, so that every chat is ' +
    'negotiated anew. A state that is newer than the backup, or of another identity, is replaced with --force alone. ' +
    'Stop the bot first: a session that somebody holds is not touched.',
  args: [
    { name: 'backup', about: 'the folder that backup made', required: true, path: true },
    { name: 'session', about: 'names of sessions; default: all', many: true },
  ],
  options: {
    ...STORE_OPTIONS,
    'creds-only': {
      kind: 'flag',
      about: 'leave out what moves on with each message, and delete it where it is stored',
    },
    force: { kind: 'flag', about: 'replace a newer state, or another identity, too' },
    as: { kind: 'text', value: '<name>', about: 'what the session is called in the store, if it is one' },
    ...TRANSFER_OPTIONS,
  },
  examples: ['restore ./backup-2026-01-31 bot-1 --store env:MONGO_URL --creds-only --dry-run'],
  async run({ args, options, env, output, signal }) {
    const [given = '', ...names] = args;
    const folder = resolve(given);
    const entries = chosen(readManifest(folder), names, given);
    if (options.as !== undefined && entries.size > 1) {
      throw usage(`--as names one session, and ${entries.size} are to be restored`);
    }
    const address = addressOf('--store', options.store, 'BAILEYS_VAULT_STORE', env);
    if (!('options' in address)) {
      throw usage(`restore works on stores of Baileys Vault, and ${address.shown} is none`);
    }
    const keys = await readKeys(STORE_KEYS(options), env);
    checkSealed(address, keys, options.plain, 'BAILEYS_VAULT_MASTER_KEY or --master-key-file');
    const { timeout, jobs, as, force, 'dry-run': dryRun, 'creds-only': credsOnly } = options;
    const counts = { restored: 0, replaced: 0, equal: 0 };
    const restoreAll = async (backup: SessionStore, to: SessionStore) =>
      await eachSession(
        { sessions: [...entries.keys()], jobs, doing: 'restoring', output, signal },
        async (sessionId) => {
          const entry = entries.get(sessionId) as BackedUp;
          const settings = { backup, to, credsOnly, force, dryRun };
          const outcome = await restoreSession(settings, entry, as ?? sessionId);
          counts[outcome] += 1;
        },
      );
    const source: Address = { kind: 'embedded', shown: given, options: { path: folder }, security: {} };
    return await using(await openSessions({ address: source, keys, timeout, output }), async (backup) => {
      const create = dryRun ? 'dry-run' : 'really';
      return await using(await openSessions({ address, keys, timeout, output, create }), async (to) => {
        const outcome = await restoreAll(backup, to);
        const { notDone, left } = outcome;
        const would = dryRun ? 'would be ' : '';
        return {
          data: { backup: folder, store: to.shown, dryRun, ...counts, left, notDone },
          text: (style) =>
            [
              ...notDoneLines('not restored', notDone, style),
              [
                `${plural(counts.restored, 'session')} ${would}restored`,
                ...(counts.replaced > 0 ? [`${counts.replaced} ${would}replaced`] : []),
                ...(counts.equal > 0 ? [`${counts.equal} equal already`] : []),
                ...(notDone.length > 0 ? [style('red', `${notDone.length} not restored`)] : []),
                ...leftLine(outcome),
              ].join(', '),
            ].join('\n'),
          exitCode: exitCodeOfAll(outcome, entries.size),
        };
      });
    });
  },
});

/** The sessions of a backup that are asked for, all if none is named. */
function chosen(
  { sessions }: Manifest,
  names: readonly string[],
  folder: string,
): ReadonlyMap<string, BackedUp> {
  const all = new Map(sessions.map((entry) => [entry.sessionId, entry]));
  if (names.length === 0) {
    return all;
  }
  return new Map(
    names.map((name) => {
      const entry = all.get(name);
      if (entry === undefined) {
        const near = nearest(name, [...all.keys()]);
        throw noSuchSession(
          name,
          folder,
          near === undefined ? undefined : `Did you mean ${JSON.stringify(near)}?`,
        );
      }
      return [name, entry];
    }),
  );
}
