import type { SessionHolder } from '../store/types.js';
import { CliError } from './errors.js';
import type { SessionStore } from './stores/store.js';
import { duration, moment } from './text.js';

/** Who has a session: for tables, for people, and before something that takes it. */

/** Somebody whom nobody takes a session from: its process is not known to have ended, and its lease runs. */
export const isAlive = ({ isDead, isOver }: SessionHolder): boolean => !isDead && !isOver;

const nameOf = ({ pid, host }: SessionHolder): string => `process ${pid} on ${host}`;

/** For machines. */
export const holderData = (holder: SessionHolder): Record<string, unknown> => ({
  host: holder.host,
  pid: holder.pid,
  since: holder.since.toISOString(),
  leaseEnds: holder.expiresAt?.toISOString() ?? null,
  state: isAlive(holder) ? 'holds' : holder.isOver ? 'ran out' : 'ended',
});

export const shortHolder = (holder: SessionHolder | null): string =>
  holder === null ? '–' : `${holder.pid}@${holder.host}${isAlive(holder) ? '' : ' (gone)'}`;

export function holderText(holder: SessionHolder | null, now = Date.now()): string {
  if (holder === null) {
    return 'nobody';
  }
  if (!isAlive(holder)) {
    return `nobody; ${leftBehind(holder)}`;
  }
  const { expiresAt } = holder;
  const lease =
    expiresAt === null ? '' : `; its lease has ${duration((expiresAt.getTime() - now) / 1000)} left`;
  return `${nameOf(holder)} since ${moment(holder.since.getTime(), now)}${lease}`;
}

/** How a lease came to be left. */
export const leftBehind = (holder: SessionHolder): string =>
  `${nameOf(holder)} did not give it back, and ${holder.isOver ? 'its lease has run out' : 'has ended'}`;

/** Refuses what would have to take a session from somebody; `more` says what else is to be known. */
export async function refuseHeld(store: SessionStore, sessionId: string, more = ''): Promise<void> {
  await store.ensureFree?.(sessionId);
  const holder = (await store.holder?.(sessionId)) ?? null;
  if (holder !== null && isAlive(holder)) {
    throw new CliError(
      'SESSION_BUSY',
      `${JSON.stringify(sessionId)} in ${store.shown} is held by ${nameOf(holder)}${more}`,
      'Stop that bot first.',
      { sessionId, holder: holderData(holder) },
    );
  }
}
