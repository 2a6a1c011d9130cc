import type { SessionHolder } from './types.js';

/** What the core says of a holder. */
export interface Held {
  host: string;
  pid: number;
  /** Milliseconds since 1970. */
  since: number;
  expiresInMs: number | null;
  isDead: boolean;
  isOurs: boolean;
}

export const holderOf = ({ since, expiresInMs, ...who }: Held): SessionHolder => ({
  ...who,
  since: new Date(since),
  expiresAt: expiresInMs === null ? null : new Date(Date.now() + expiresInMs),
  isOver: expiresInMs === 0,
});
