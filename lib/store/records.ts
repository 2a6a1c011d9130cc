import type { AuthenticationCreds } from '../baileys-types.js';
import { decodeValue, encodeValue, type RecordEntry } from '../codec/index.js';
import { checkCreds } from '../creds.js';
import { ValueError } from '../errors.js';
import type { SnapshotRecord } from '../native/snapshot.js';
import type { AuthPatch, AuthSnapshot } from './types.js';

/** The credentials are the record of this type with an empty id. */
export const CREDS_TYPE = 'creds';
export const CREDS_ID = '';
const APP_STATE_TYPE = 'appState';

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The records that `patch` puts and deletes.
 *
 * @throws ValueError when the patch has another shape
 */
export function recordsOf(patch: AuthPatch): RecordEntry[] {
  if (!isObject(patch)) {
    throw new ValueError('patch', 'expected an object with creds, keys or appState');
  }
  const { creds, keys, appState, ...rest } = patch;
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) {
    throw new ValueError(`patch.${unknown}`, 'unknown field; expected creds, keys or appState');
  }
  const records: RecordEntry[] = [];
  if (creds !== undefined) {
    records.push(credsRecord(creds));
  }
  for (const [type, group] of Object.entries(groupOf('patch.keys', keys))) {
    if (type === CREDS_TYPE) {
      throw new ValueError('patch.keys.creds', 'the credentials go into patch.creds');
    }
    for (const [id, value] of Object.entries(groupOf(`patch.keys[${JSON.stringify(type)}]`, group))) {
      records.push({ type, id, value });
    }
  }
  for (const [id, value] of Object.entries(groupOf('patch.appState', appState))) {
    records.push({ type: APP_STATE_TYPE, id, value });
  }
  return records;
}

/**
 * The record that holds `creds`.
 *
 * @throws ValueError at what keeps them from being credentials
 */
export function credsRecord(creds: unknown): RecordEntry {
  // A copy, so that what was checked is what is stored, whatever a getter answers the next time.
  const value = decodeValue(encodeValue(creds, CREDS_TYPE));
  const wrong = checkCreds(value);
  if (wrong !== undefined) {
    // Of a promise or a Map the copy only says that nothing is in it.
    const { path, problem } = checkCreds(creds) ?? wrong;
    throw new ValueError(path, problem);
  }
  return { type: CREDS_TYPE, id: CREDS_ID, value };
}

function groupOf(path: string, value: unknown): Record<string, unknown> {
  if (value === undefined || value === null) {
    return {};
  }
  if (!isObject(value)) {
    throw new ValueError(path, 'expected an object');
  }
  return value;
}

/** The inverse of `recordsOf`. */
export function snapshotOf(records: readonly SnapshotRecord[]): AuthSnapshot {
  let creds: unknown;
  const keys: Record<string, Record<string, unknown>> = {};
  const appState: Record<string, unknown> = {};
  for (const { type, id, value } of records) {
    if (type === CREDS_TYPE && id === CREDS_ID) {
      creds = value;
    } else if (type === APP_STATE_TYPE) {
      define(appState, id, value);
    } else {
      if (!Object.hasOwn(keys, type)) {
        define(keys, type, {});
      }
      define(keys[type] as Record<string, unknown>, id, value);
    }
  }
  return {
    creds: creds as AuthenticationCreds,
    keys,
    ...(Object.keys(appState).length > 0 && { appState }),
  };
}

/** Sets a property whatever its name: an assignment to `__proto__` would change the prototype instead. */
function define(target: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}
