/** Values of records, and what may be wrong with them. */
import { checkCreds } from '../../../baileys/creds.js';
import type { RecordEntry } from '../../../codec/index.js';
import { CorruptRecordError } from '../../../errors.js';
import { parse } from '../../../import/read-file.js';
import { CREDS_ID, CREDS_TYPE } from '../../../store/records.js';

/** Where a session is, for errors. */
export interface SourcePlace {
  sessionId: string;
  /** The store's address. */
  shown: string;
}

/** What is wrong: creds that cannot be read, that are none, that are not there; or any other record. */
export type DamageKind = 'creds-torn' | 'creds-wrong' | 'creds-missing' | 'record';

/** Hears what is wrong with a session. Unless it throws, the rest is read. */
export type OnDamage = (kind: DamageKind, error: CorruptRecordError) => void;

/** Nothing is copied of a session that is damaged. */
export const refuseDamage: OnDamage = (_kind, error) => {
  throw error;
};

/** Gathers the records of one session. */
export class Gathering {
  private readonly records = new Map<string, RecordEntry & { isWeak: boolean }>();
  private creds: RecordEntry | undefined;
  /** How many records were met, those included that cannot be read. */
  private met = 0;

  constructor(
    private readonly place: SourcePlace,
    private readonly onDamage: OnDamage,
  ) {}

  /**
   * @param records the types and ids that it may be of
   * @param read gives its value; null, which Baileys takes for absent, is left out
   * @param isWeak whether another record of the same type and id counts more
   */
  add(records: readonly { type: string; id: string }[], read: () => unknown, isWeak = false): void {
    this.met += 1;
    const value = this.valueOf('record', read);
    if (value === undefined || value === null) {
      return;
    }
    for (const { type, id } of records) {
      const at = JSON.stringify([type, id]);
      if (this.records.get(at)?.isWeak !== false) {
        this.records.set(at, { type, id, value, isWeak });
      }
    }
  }

  addCreds(name: string, read: () => unknown): void {
    this.met += 1;
    const value = this.valueOf('creds-torn', read);
    if (value !== undefined) {
      this.valueOf('creds-wrong', () => credsRecord(this.place, name, value));
    }
    this.creds = { type: CREDS_TYPE, id: CREDS_ID, value: value ?? {} };
  }

  /** All that was gathered, undefined if there is nothing of a session. */
  all(credsName: string): RecordEntry[] | undefined {
    if (this.met === 0) {
      return undefined;
    }
    const records = [...this.records.values()].map(({ type, id, value }) => ({ type, id, value }));
    if (this.creds === undefined) {
      this.onDamage('creds-missing', credsMissing(this.place, credsName, this.met));
      return records;
    }
    return [this.creds, ...records];
  }

  private valueOf(kind: DamageKind, read: () => unknown): unknown {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof CorruptRecordError)) {
        throw error;
      }
      this.onDamage(kind, error);
      return undefined;
    }
  }
}

/** @throws CorruptRecordError when they are none, naming the field that is wrong */
export function credsRecord(place: SourcePlace, name: string, value: unknown): RecordEntry {
  const wrong = checkCreds(value);
  if (wrong !== undefined) {
    throw damaged(place, name, `it does not hold credentials (${wrong.path}: ${wrong.problem})`);
  }
  return { type: CREDS_TYPE, id: CREDS_ID, value };
}

/** Keys without creds: a session that has lost them, and not a new one. */
export const credsMissing = (place: SourcePlace, name: string, keys: number): CorruptRecordError =>
  damaged(place, name, `it is missing beside ${keys} keys: restore it`);

/**
 * Reads a value that is stored as JSON.
 *
 * @param name what the store calls it
 * @throws CorruptRecordError naming it, when it is none
 */
export function readJsonValue(place: SourcePlace, name: string, bytes: Buffer): unknown {
  const content = parse(bytes);
  if (!content.ok) {
    throw damaged(place, name, content.reason);
  }
  return content.value;
}

export function damaged({ sessionId, shown }: SourcePlace, name: string, reason: string): CorruptRecordError {
  return new CorruptRecordError(reason, name, undefined, {
    layer: 'import',
    sessionId,
    details: { store: shown, record: name },
  });
}
