import { isObject, isSameIdentity } from '../../folder/identity.js';
import { CREDS_TYPE } from '../../store/records.js';
import { differences, digestsOf } from '../digest.js';
import { CliError } from '../errors.js';
import { refuseHeld } from '../holders.js';
import { vaultOf } from '../stores/open.js';
import type { SessionStore, StoredSession } from '../stores/store.js';
import { moment } from '../text.js';
import { type BackedUp, checkAgainst } from './manifest.js';

/**
 * Types whose records move on with each message. An older one of them makes messages unreadable; without any, chats
 * are negotiated anew.
 */
const RATCHETS: ReadonlySet<string> = new Set([
  'session',
  'sender-key',
  'sender-key-memory',
  'fast-ratchet-sender-key',
]);

export interface RestoreOptions {
  backup: SessionStore;
  to: SessionStore;
  /** Leave out whatever moves on with each message, and delete it where it is stored. */
  credsOnly: boolean;
  /** Also over a newer state, or another identity. */
  force: boolean;
  dryRun: boolean;
}

type Outcome = 'restored' | 'replaced' | 'equal';

/** Restores one session, whole or not at all, under a name; an older state replaces no newer one unasked. */
export async function restoreSession(
  { backup, to, credsOnly, force, dryRun }: RestoreOptions,
  entry: BackedUp,
  name: string,
): Promise<Outcome> {
  const whole = await readBackup(backup, entry);
  const session = credsOnly ? withoutRatchets(whole) : whole;
  const digests = digestsOf(session.records);
  const current = await to.read(name);
  if (current !== undefined && differences(digests, digestsOf(current.records)).length === 0) {
    return 'equal';
  }
  if (current !== undefined && !force) {
    refuseNewer(entry, whole, current, name);
  }
  if (dryRun) {
    await refuseHeld(to, name);
  } else {
    await (current === undefined
      ? to.create(name, session)
      : to.hold(name, (held) => replace(to, name, session, held, { entry, whole, force })));
    const stored = await to.read(name);
    const differing = differences(digests, digestsOf(stored?.records ?? []));
    if (differing.length > 0) {
      throw new CliError(
        'NOT_EQUAL',
        `${JSON.stringify(name)} is not what was restored: ${differing.join(', ')}`,
      );
    }
  }
  return current === undefined ? 'restored' : 'replaced';
}

/** Once more, now that nobody else can write: what was looked at may have moved on since. */
async function replace(
  to: SessionStore,
  name: string,
  session: StoredSession,
  held: StoredSession | undefined,
  { entry, whole, force }: { entry: BackedUp; whole: StoredSession; force: boolean },
): Promise<void> {
  if (held === undefined) {
    await to.create(name, session);
    return;
  }
  if (!force) {
    refuseNewer(entry, whole, held, name);
  }
  await vaultOf(to, 'restore').replace(name, session, held);
}

async function readBackup(backup: SessionStore, entry: BackedUp): Promise<StoredSession> {
  const found = await backup.read(entry.sessionId);
  const session = found ?? { records: [] };
  checkAgainst(backup.shown, entry, digestsOf(session.records));
  return session;
}

const withoutRatchets = ({ records }: StoredSession): StoredSession => ({
  records: records.filter(({ type }) => !RATCHETS.has(type)),
});

function refuseNewer(entry: BackedUp, backup: StoredSession, current: StoredSession, name: string): void {
  const [theirs, ours] = [credsOf(backup), credsOf(current)];
  if (isObject(ours) && !isSameIdentity(theirs, ours)) {
    throw new CliError(
      'REFUSED',
      `${JSON.stringify(name)} is stored with another identity than the backup has: it was paired anew, or is another bot`,
    );
  }
  const backedUpAt = entry.lastWrite === null ? undefined : Date.parse(entry.lastWrite);
  if (backedUpAt === undefined || current.updatedAt === undefined || current.updatedAt > backedUpAt) {
    const stored = current.updatedAt === undefined ? '' : `, last written ${moment(current.updatedAt)}`;
    const kept = backedUpAt === undefined ? 'of a time that is not known' : `as it was ${moment(backedUpAt)}`;
    throw new CliError(
      'REFUSED',
      `what is stored of ${JSON.stringify(name)} is newer${stored}; the backup has it ${kept}. Going back breaks its chats`,
    );
  }
}

const credsOf = ({ records }: StoredSession): unknown =>
  records.find(({ type }) => type === CREDS_TYPE)?.value;
