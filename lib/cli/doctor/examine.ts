import { createHash } from 'node:crypto';
import type { RecordEntry } from '../../codec/index.js';
import { isObject } from '../../folder/identity.js';
import { CREDS_TYPE } from '../../store/records.js';
import { noSuchSession } from '../errors.js';
import { isAlive, leftBehind } from '../holders.js';
import { describe } from '../report.js';
import type { DamageKind } from '../stores/foreign/records.js';
import { SourceSessions } from '../stores/foreign/source.js';
import { MultiFileSessions } from '../stores/multi-file.js';
import type { SessionStore } from '../stores/store.js';
import { VaultSessions } from '../stores/vault.js';
import type { Code, Finding } from './catalogue.js';
import { inspectFolder, inspectVaultFolder } from './files.js';
import { examineRecords } from './records.js';

/** What an error of a store stands for; undefined if it means that the session could not be looked at. */
function codeOf(error: unknown): Code | undefined {
  const { code, message, details } = describe(error);
  switch (code) {
    case 'CORRUPT_RECORD':
    case 'COMPRESSION_FAILED':
    case 'SESSION_LOST':
      return 'RECORD_DAMAGED';
    case 'ENCRYPTION_FAILED':
      // A record that names no key was stored readable; one whose key is known was altered.
      if (details?.keyId === undefined) {
        return 'NOT_SEALED';
      }
      return /is sealed with key/.test(message) ? 'KEY_UNKNOWN' : 'RECORD_DAMAGED';
    default:
      return undefined;
  }
}

/** A session that cannot be read at all. */
function damageOf(sessionId: string, error: unknown): Finding[] {
  const code = codeOf(error);
  if (code === undefined) {
    throw error;
  }
  return [{ code, sessionId, what: describe(error).message }];
}

/** What a store warns of when it is opened. */
const BY_WARNING: readonly (readonly [RegExp, Code])[] = [
  [/^maxmemory-policy is /, 'REDIS_MAY_EVICT'],
  [/^(persistence|appendonly) is off/, 'REDIS_NOT_PERSISTENT'],
  [/^PostgreSQL has (fsync|full_page_writes|synchronous_commit) off/, 'POSTGRES_NOT_DURABLE'],
  [/^PostgreSQL has (standbys, and none|synchronous_commit local)/, 'POSTGRES_FAILOVER_LOSES'],
  [/: mongo-baileys stores neither/, 'LIBRARY_LOSES_RECORDS'],
];

export const findingOfWarning = (what: string): Finding => ({
  code: BY_WARNING.find(([pattern]) => pattern.test(what))?.[1] ?? 'STORE_WARNING',
  sessionId: null,
  what,
});

/** What damage of a source is found as; what is missing or wrong in creds, the records themselves show. */
const DAMAGE: Readonly<Record<DamageKind, Code | undefined>> = {
  'creds-torn': 'CREDS_TORN',
  'creds-wrong': undefined,
  'creds-missing': undefined,
  record: 'RECORD_DAMAGED',
};

/** Of creds that are torn, nothing else is to be said. */
const withoutTorn = (findings: readonly Finding[], about: readonly Finding[]): Finding[] =>
  findings.some(({ code }) => code === 'CREDS_TORN')
    ? about.filter(({ code }) => !/^(CREDS_|NOT_PAIRED)/.test(code))
    : [...about];

/** Looks for what is wrong with a session, and for the same identity elsewhere. */
export class Examination {
  /** By a digest of the identity: where it was first seen. */
  private readonly identities = new Map<string, string>();

  constructor(
    private readonly fix: boolean,
    /** Whether records open without a master key that were sealed with none. */
    private readonly hasKey: boolean,
  ) {}

  /** What is wrong with the store as a whole. */
  async store(store: SessionStore): Promise<Finding[]> {
    if (!(store instanceof VaultSessions)) {
      return [];
    }
    const findings = store.folder === undefined ? [] : await inspectVaultFolder(store.folder, this.fix);
    try {
      await store.verify();
    } catch (error) {
      const { code, message } = describe(error);
      // A record that does not open is found again with its session.
      if (code === 'CORRUPT_RECORD') {
        findings.push({ code: 'STORE_DAMAGED', sessionId: null, what: message });
      } else if (codeOf(error) === undefined) {
        throw error;
      }
    }
    return findings;
  }

  async session(store: SessionStore, sessionId: string): Promise<Finding[]> {
    if (store instanceof MultiFileSessions) {
      const folder = await store.folderToRead(sessionId);
      if (folder === undefined) {
        throw noSuchSession(sessionId, store.shown);
      }
      const { findings, records } = await inspectFolder(sessionId, folder, this.fix);
      const about = withoutTorn(findings, examineRecords(sessionId, records));
      return [...findings, ...about, ...this.twice(store, sessionId, records)];
    }
    if (store instanceof SourceSessions) {
      return await this.source(store, sessionId);
    }
    const stale = await this.staleLease(store, sessionId);
    let found: Awaited<ReturnType<SessionStore['read']>>;
    try {
      found = await store.read(sessionId);
    } catch (error) {
      return [...damageOf(sessionId, error), ...stale];
    }
    if (found === undefined) {
      throw noSuchSession(sessionId, store.shown);
    }
    return [
      ...stale,
      ...(store instanceof VaultSessions && !this.hasKey
        ? [
            {
              code: 'NOT_SEALED' as const,
              sessionId,
              what: `${found.records.length} records open without a key`,
            },
          ]
        : []),
      ...examineRecords(sessionId, found.records),
      ...this.twice(store, sessionId, found.records),
    ];
  }

  /** A session of another library: all that is damaged, where a copy would stop at the first. */
  private async source(store: SourceSessions, sessionId: string): Promise<Finding[]> {
    let found: Awaited<ReturnType<SourceSessions['inspect']>>;
    try {
      found = await store.inspect(sessionId);
    } catch (error) {
      return damageOf(sessionId, error);
    }
    if (found === undefined) {
      throw noSuchSession(sessionId, store.shown);
    }
    const findings = found.damage.flatMap(({ kind, error }): Finding[] => {
      const code = DAMAGE[kind];
      return code === undefined ? [] : [{ code, sessionId, what: error.message }];
    });
    return [
      ...findings,
      ...withoutTorn(findings, examineRecords(sessionId, found.records)),
      ...this.twice(store, sessionId, found.records),
    ];
  }

  private async staleLease(store: SessionStore, sessionId: string): Promise<Finding[]> {
    const holder = (await store.holder?.(sessionId)) ?? null;
    return holder === null || isAlive(holder)
      ? []
      : [{ code: 'LEASE_STALE', sessionId, what: leftBehind(holder) }];
  }

  /** Two copies of one identity, in one store or in two. */
  private twice(store: SessionStore, sessionId: string, records: readonly RecordEntry[]): Finding[] {
    const creds = records.find(({ type }) => type === CREDS_TYPE)?.value;
    const pair = isObject(creds) ? creds.signedIdentityKey : undefined;
    const key = isObject(pair) ? pair.public : undefined;
    if (!(key instanceof Uint8Array)) {
      return [];
    }
    const identity = createHash('sha256').update(key).digest('hex');
    const place = `${JSON.stringify(sessionId)} in ${store.shown}`;
    const other = this.identities.get(identity);
    this.identities.set(identity, other ?? place);
    return other === undefined || other === place
      ? []
      : [{ code: 'IDENTITY_TWICE', sessionId, what: `${place} and ${other} are one identity` }];
  }
}
