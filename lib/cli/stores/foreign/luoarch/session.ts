import { isPlainObject, type RecordEntry } from '../../../../codec/index.js';
import { recordsOf } from '../../../../store/records.js';
import type { AuthPatch } from '../../../../store/types.js';
import { credsMissing, credsRecord, damaged, type SourcePlace } from '../records.js';

/** The parts of a session that a store has, under what it calls them. */
export interface Parts {
  creds: { name: string; value: unknown } | undefined;
  /** Records by type and id; undefined where nothing is stored, as before the first key. */
  keys: { name: string; value: unknown } | undefined;
  appState: { name: string; value: unknown } | undefined;
}

/**
 * The records of a session that is stored in parts, of which each may have gone by itself.
 *
 * @param names what the store calls parts that are not there, for errors
 * @throws CorruptRecordError naming the part that is missing or wrong
 */
export function recordsOfParts(
  place: SourcePlace,
  { creds, keys, appState }: Parts,
  names: { creds: string; keys: string },
): RecordEntry[] {
  const patch: AuthPatch = {
    ...(keys !== undefined && { keys: groups(place, keys.name, keys.value) }),
    ...(appState?.value != null && { appState: object(place, appState.name, appState.value) }),
  };
  // What is null is deleted.
  const records = recordsOf(patch).filter(({ value }) => value !== null);
  if (creds === undefined) {
    throw credsMissing(place, names.creds, records.length);
  }
  const record = credsRecord(place, creds.name, creds.value);
  if (keys === undefined && (record.value as { me?: unknown }).me !== undefined) {
    throw damaged(place, names.keys, 'it is missing beside the credentials of a paired account: restore it');
  }
  return [record, ...records];
}

function groups(place: SourcePlace, name: string, value: unknown): Record<string, Record<string, unknown>> {
  const types = Object.entries(object(place, name, value));
  return Object.fromEntries(
    types.map(([type, group]) => [type, object(place, `${name} ${type}`, group ?? {})]),
  );
}

export function object(place: SourcePlace, name: string, value: unknown): Record<string, unknown> {
  if (!isPlainObject(value)) {
    throw damaged(place, name, 'expected an object');
  }
  return value as Record<string, unknown>;
}
