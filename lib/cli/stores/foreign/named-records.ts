/** Sessions whose records have names as the files of Baileys' own function have: `creds`, and `<type>-<id>`. */
import type { RecordEntry } from '../../../codec/index.js';
import { recordNamesOf } from '../../../import/file-names.js';
import type { ForeignRedis } from '../../../native/foreign/redis.js';
import type { StoredSession } from '../store.js';
import { credsMissing, credsRecord, readJsonValue, type SourcePlace } from './records.js';

export const CREDS_NAME = 'creds';

export interface NamedValue {
  /** `creds`, or `<type>-<id>`. */
  name: string;
  /** @throws CorruptRecordError naming what cannot be read */
  read(): unknown;
}

/** One that is stored as JSON. */
export const jsonValue = (place: SourcePlace, name: string, key: string, bytes: Buffer): NamedValue => ({
  name,
  read: () => readJsonValue(place, key, bytes),
});

/**
 * The records of a session. Some libraries write names as Baileys' own function does, with `__` for `/` and `-` for `:`,
 * and some did so only later: then both may be there, of which the later one counts.
 *
 * @param ignored names that are the library's own
 * @param keyOf what the store calls a name, for errors
 * @returns undefined if there is nothing of a session
 * @throws CorruptRecordError naming what cannot be read, and when there are keys without creds
 */
export function recordsOfNames(
  place: SourcePlace,
  values: readonly NamedValue[],
  keyOf: (name: string) => string,
  { ignored = [], leftAlone }: { ignored?: readonly string[]; leftAlone(names: string[]): void },
): RecordEntry[] | undefined {
  const records = new Map<string, RecordEntry & { isRaw: boolean }>();
  const others: string[] = [];
  let creds: RecordEntry | undefined;
  for (const { name, read } of values) {
    if (ignored.includes(name)) {
      continue;
    }
    if (name === CREDS_NAME) {
      creds = credsRecord(place, keyOf(name), read());
      continue;
    }
    const { names } = recordNamesOf(name);
    if (names.length === 0) {
      others.push(name);
      continue;
    }
    const value = read();
    // Baileys takes null for absent.
    if (value === null) {
      continue;
    }
    for (const { type, id } of names) {
      const at = JSON.stringify([type, id]);
      const isRaw = /[:/]/.test(name);
      if (records.get(at)?.isRaw !== false) {
        records.set(at, { type, id, value, isRaw });
      }
    }
  }
  if (others.length > 0) {
    leftAlone(others.sort());
  }
  if (creds === undefined && records.size === 0) {
    return undefined;
  }
  if (creds === undefined) {
    throw credsMissing(place, keyOf(CREDS_NAME), records.size);
  }
  return [creds, ...[...records.values()].map(({ type, id, value }) => ({ type, id, value }))];
}

/** Names told in one warning. */
const TOLD = 5;

/** Says that a store holds, beside a session's records, what is none. */
export const warnOfOthers =
  (place: string, warn: (text: string) => void) =>
  (names: readonly string[]): void => {
    const more = names.length > TOLD ? ` and ${names.length - TOLD} more` : '';
    warn(`${place} left alone what is no record of Baileys: ${names.slice(0, TOLD).join(', ')}${more}`);
  };

/**
 * The session that one hash of Redis holds, a field for each record.
 *
 * @throws CorruptRecordError as `recordsOfNames`, and for a key that is no hash
 */
export async function readHash(
  redis: ForeignRedis,
  key: string,
  place: SourcePlace,
  { ignored, warn }: { ignored: readonly string[]; warn(text: string): void },
): Promise<StoredSession | undefined> {
  const fields = await redis.hgetall(key);
  const keyOf = (name: string): string => `${key} ${name}`;
  const values = fields.map(([field, bytes]) => {
    const name = field.toString('utf8');
    return jsonValue(place, name, keyOf(name), bytes);
  });
  const records = recordsOfNames(place, values, keyOf, { ignored, leftAlone: warnOfOthers(`${key}:`, warn) });
  return records && { records };
}
