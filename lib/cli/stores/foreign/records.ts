/** Records as most libraries store them: JSON by Baileys' `BufferJSON`, under `creds` and `<type>-<id>`. */
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

/**
 * Reads a stored value.
 *
 * @param name what the store calls it
 * @throws CorruptRecordError naming it, when it is not JSON
 */
export function readJsonValue(place: SourcePlace, name: string, bytes: Buffer): unknown {
  const content = parse(bytes);
  if (!content.ok) {
    throw damaged(place, name, content.reason);
  }
  return content.value;
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

export function damaged({ sessionId, shown }: SourcePlace, name: string, reason: string): CorruptRecordError {
  return new CorruptRecordError(reason, name, undefined, {
    layer: 'import',
    sessionId,
    details: { store: shown, record: name },
  });
}
