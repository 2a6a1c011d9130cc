import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type BackedUp, writeManifest } from '../backup/manifest.js';
import { defineCommand } from '../command.js';
import { differences, digestsOf, Totals } from '../digest.js';
import { eachSession, exitCodeOfAll, notDoneLines } from '../each-session.js';
import { CliError, interrupted, noSession, noSuchSession, usage } from '../errors.js';
import { readKeys } from '../keys.js';
import type { Address } from '../stores/address.js';
import { addressOf, openSessions, STORE_KEYS, STORE_OPTIONS, using } from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import { sumOf } from '../summary.js';
import { bytes, plural } from '../text.js';
import { checkSealed, TRANSFER_OPTIONS } from './transfer.js';

export const backup = defineCommand({
  name: 'backup',
  summary: 'Backs sessions up into a new folder, beside running bots',
  description:
    'The folder is a store of Baileys Vault, sealed with the master key, and a manifest with the version, the time and ' +
    'the digests of each session. Each is read as it was at one version, and disturbs no bot on a server. A session ' +
    'moves on with each message: see baileys-vault restore --help for what an older state is good for.',
  args: [{ name: 'session', about: 'names of sessions; default: all', many: true }],
  options: {
    to: { kind: 'text', value: '<folder>', path: true, about: 'the folder, which must not exist; required' },
    ...STORE_OPTIONS,
    plain: TRANSFER_OPTIONS.plain,
    jobs: TRANSFER_OPTIONS.jobs,
  },
  examples: ['backup --store env:MONGO_URL --to ./backup-2026-01-31'],
  async run({ args, options, env, output, signal }) {
    const { to, timeout, jobs } = options;
    if (to === undefined) {
      throw usage('backup needs --to <folder>');
    }
    const folder = resolve(to);
    if (existsSync(folder)) {
      throw new CliError('REFUSED', `${to} is there already: a backup is never overwritten`);
    }
    const address = addressOf('--store', options.store, 'BAILEYS_VAULT_STORE', env);
    const keys = await readKeys(STORE_KEYS(options), env);
    const draft = join(dirname(folder), `.${basename(folder)}.${randomBytes(4).toString('hex')}.partial`);
    const target: Address = { kind: 'embedded', shown: to, options: { path: draft }, security: {} };
    checkSealed(target, keys, options.plain, 'BAILEYS_VAULT_MASTER_KEY or --master-key-file');
    return await using(await openSessions({ address, keys, timeout, output }), async (from) => {
      const sessions = args.length > 0 ? args : await from.list();
      if (sessions.length === 0) {
        throw noSession(from);
      }
      const kept: BackedUp[] = [];
      const totals = new Totals();
      const backUp = async (into: SessionStore) =>
        await eachSession({ sessions, jobs, doing: 'backing up', output, signal }, async (sessionId) => {
          kept.push(await keep(from, into, sessionId, totals));
        });
      try {
        const opened = await openSessions({ address: target, keys, timeout, output, create: 'really' });
        const outcome = await using(opened, backUp);
        if (signal.aborted) {
          throw interrupted();
        }
        if (kept.length > 0) {
          kept.sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
          const [madeAt, sealed] = [new Date().toISOString(), keys.masterKey !== undefined];
          await writeManifest(draft, { madeAt, source: from.shown, sealed, sessions: kept });
          await rename(draft, folder);
        }
        const { records, bytes: size } = sumOf(totals.digests());
        const place = kept.length > 0 ? ` in ${to}` : '';
        return {
          data: {
            store: from.shown,
            folder: kept.length > 0 ? folder : null,
            sessions: kept,
            notDone: outcome.notDone,
          },
          text: (style) =>
            [
              ...notDoneLines('not backed up', outcome.notDone, style),
              `${plural(kept.length, 'session')} with ${plural(records, 'record')} (${bytes(size)})${place}`,
            ].join('\n'),
          exitCode: exitCodeOfAll(outcome, sessions.length),
        };
      } finally {
        await rm(draft, { recursive: true, force: true });
      }
    });
  },
});

async function keep(
  from: SessionStore,
  into: SessionStore,
  sessionId: string,
  totals: Totals,
): Promise<BackedUp> {
  const found = await from.read(sessionId);
  if (found === undefined) {
    throw noSuchSession(sessionId, from.shown);
  }
  const digests = digestsOf(found.records);
  await into.create(sessionId, found);
  const stored = await into.readBack(sessionId, found);
  const differing = differences(digests, digestsOf(stored?.records ?? []));
  if (differing.length > 0) {
    throw new CliError('NOT_EQUAL', `the backup is not what was read: ${differing.join(', ')}`);
  }
  totals.add(sessionId, digests);
  return {
    sessionId,
    version: found.version ?? null,
    lastWrite: found.updatedAt === undefined ? null : new Date(found.updatedAt).toISOString(),
    ...sumOf(digests),
    sha256: Object.fromEntries([...digests].map(([type, { sha256 }]) => [type, sha256])),
  };
}
