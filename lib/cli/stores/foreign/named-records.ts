/** Sessions whose records have names as the files of Baileys' own function have: `creds`, and `<type>-<id>`. */
import type { RecordEntry } from '../../../codec/index.js';
import { recordNamesOf } from '../../../import/file-names.js';
import type { ForeignRedis } from '../../../native/foreign/redis.js';
import type { StoredSession } from '../store.js';
import { Gathering, type OnDamage, readJsonValue, type SourcePlace } from './records.js';

export const CREDS_NAME = 'creds';

export interface NamedValue {
  /** `creds`, or `<type>-<id>`. */
  name: string;
  /** @throws CorruptRecordError naming what cannot be read */
  read(): unknown;
}

/** What a library's way to store sessions comes to. */
export interface Naming {
  /** What the store calls a name, for errors. */
  keyOf(name: string): string;
  /** Names that are the library's own. */
  ignored?: readonly string[];
  warn(text: string): void;
}

/** Names told in one warning. */
const TOLD = 5;

/** A value that is stored as JSON. */
export const jsonValue = (place: SourcePlace, name: string, key: string, bytes: Buffer): NamedValue => ({
  name,
  read: () => readJsonValue(place, key, bytes),
});

/**
 * The records of a session. Some libraries write names as Baileys' own function does, with `__` for `/` and `-` for `:`,
 * and some did so only later: then both may be there, of which the later one counts.
 *
 * @returns undefined if there is nothing of a session
 */
export function recordsOfNames(
  place: SourcePlace,
  values: readonly NamedValue[],
  { keyOf, ignored = [], warn }: Naming,
  onDamage: OnDamage,
): RecordEntry[] | undefined {
  const gathering = new Gathering(place, onDamage);
  const others: string[] = [];
  for (const { name, read } of values) {
    const { names } = recordNamesOf(name);
    if (name === CREDS_NAME) {
      gathering.addCreds(keyOf(name), read);
    } else if (names.length > 0 && !ignored.includes(name)) {
      gathering.add(names, read, /[:/]/.test(name));
    } else if (!ignored.includes(name)) {
      others.push(name);
    }
  }
  if (others.length > 0) {
    const more = others.length > TOLD ? ` and ${others.length - TOLD} more` : '';
    warn(
      `${place.sessionId}: left alone what is no record of Baileys: ${others.sort().slice(0, TOLD).join(', ')}${more}`,
    );
  }
  return gathering.all(keyOf(CREDS_NAME));
}

/**
 * The session that one hash of Redis holds, a field for each record.
 *
 * @throws CorruptRecordError for a key that is no hash
 */
export async function readHash(
  redis: ForeignRedis,
  key: string,
  place: SourcePlace,
  naming: Omit<Naming, 'keyOf'>,
  onDamage: OnDamage,
): Promise<StoredSession | undefined> {
  const keyOf = (name: string): string => `${key} ${name}`;
  const values = (await redis.hgetall(key)).map(([field, bytes]) => {
    const name = field.toString('utf8');
    return jsonValue(place, name, keyOf(name), bytes);
  });
  const records = recordsOfNames(place, values, { ...naming, keyOf }, onDamage);
  return records && { records };
}
