import { isObject, isPaired, type Unchecked } from '../folder/identity.js';
import { CREDS_TYPE } from '../store/records.js';
import { type Digests, digestsOf } from './digest.js';
import type { StoredSession } from './stores/store.js';

/** What may be shown of a session: nothing in it is a key. */
export interface SessionSummary {
  sessionId: string;
  version: number | null;
  /** ISO 8601. */
  lastWrite: string | null;
  account: {
    id: string | null;
    lid: string | null;
    name: string | null;
    platform: string | null;
    /** Whether the creds belong to an account. */
    paired: boolean;
  } | null;
  preKeys: {
    stored: number;
    /** Stored and, as far as the creds say, on WhatsApp's servers: each serves one new chat. */
    uploaded: number;
    next: number | null;
    firstNotUploaded: number | null;
  };
  /** When the oldest chat session began, ISO 8601: the account is at least that old here. */
  oldestSession: string | null;
  records: number;
  bytes: number;
  types: Record<string, { records: number; bytes: number; sha256: string }>;
}

export function summaryOf(sessionId: string, { records, version, updatedAt }: StoredSession): SessionSummary {
  const digests = digestsOf(records);
  const creds = records.find(({ type }) => type === CREDS_TYPE)?.value;
  const known = isObject(creds) ? creds : undefined;
  const numberOf = (name: string): number | null => {
    const value = known?.[name];
    return typeof value === 'number' ? value : null;
  };
  const firstNotUploaded = numberOf('firstUnuploadedPreKeyId');
  const preKeys = records.filter(({ type }) => type === 'pre-key').map(({ id }) => Number(id));
  const oldest = oldestOf(records.filter(({ type }) => type === 'session').map(({ value }) => value));
  return {
    sessionId,
    version: version ?? null,
    lastWrite: updatedAt === undefined ? null : new Date(updatedAt).toISOString(),
    account: known === undefined ? null : accountOf(known),
    preKeys: {
      stored: preKeys.length,
      uploaded: preKeys.filter((id) => firstNotUploaded === null || id < firstNotUploaded).length,
      next: numberOf('nextPreKeyId'),
      firstNotUploaded,
    },
    oldestSession: oldest === undefined ? null : new Date(oldest).toISOString(),
    ...sumOf(digests),
    types: Object.fromEntries(digests),
  };
}

export function sumOf(digests: Digests): { records: number; bytes: number } {
  let [records, bytes] = [0, 0];
  for (const digest of digests.values()) {
    records += digest.records;
    bytes += digest.bytes;
  }
  return { records, bytes };
}

function accountOf(creds: Unchecked): SessionSummary['account'] {
  const me = isObject(creds.me) ? creds.me : {};
  const text = (value: unknown): string | null => (typeof value === 'string' && value !== '' ? value : null);
  return {
    id: text(me.id),
    lid: text(me.lid),
    name: text(me.name),
    platform: text(creds.platform),
    paired: isPaired(creds),
  };
}

/** When the first of these sessions of libsignal was made, in milliseconds since 1970. */
function oldestOf(sessions: readonly unknown[]): number | undefined {
  let oldest: number | undefined;
  for (const session of sessions) {
    const chains = isObject(session) && isObject(session._sessions) ? Object.values(session._sessions) : [];
    for (const chain of chains) {
      const created = isObject(chain) && isObject(chain.indexInfo) ? chain.indexInfo.created : undefined;
      if (typeof created === 'number' && created > 0 && (oldest === undefined || created < oldest)) {
        oldest = created;
      }
    }
  }
  return oldest;
}
