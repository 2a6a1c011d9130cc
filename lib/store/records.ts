import { checkCreds } from '../baileys/creds.js';
import type { AuthenticationCreds } from '../baileys/types.js';
import {
  decodeValue,
  describe,
  encodeValue,
  isPlainObject,
  type RecordEntry,
  renderPath,
} from '../codec/index.js';
import { ValueError } from '../errors.js';
import type { SnapshotRecord } from '../native/snapshot.js';
import type { AuthPatch, AuthSnapshot } from './types.js';

/** The credentials are the record of this type with an empty id. */
export const CREDS_TYPE = 'creds';
export const CREDS_ID = '';
const APP_STATE_TYPE = 'appState';

/**
 * The records that `patch` puts and deletes.
 *
 * @throws ValueError when the patch has another shape
 */
export function recordsOf(patch: AuthPatch): RecordEntry[] {
  try {
    return read(patch);
  } catch (error) {
    throw error instanceof ValueError
      ? error
      : new ValueError('patch', 'reading it threw (getter or proxy)', error);
  }
}

function read(patch: AuthPatch): RecordEntry[] {
  const { creds, keys, appState, ...rest } = objectAt('patch', patch);
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) {
    throw new ValueError(renderPath('patch', [unknown]), 'unknown field; expected creds, keys or appState');
  }
  const records: RecordEntry[] = [];
  // Named but undefined is a mistake, not a patch without credentials.
  if (Object.hasOwn(patch, 'creds')) {
    records.push(credsRecord(creds));
  }
  for (const [type, group] of entriesAt('patch.keys', keys)) {
    if (type === CREDS_TYPE) {
      throw new ValueError('patch.keys.creds', 'the credentials go into patch.creds');
    }
    for (const [id, value] of entriesAt(renderPath('patch.keys', [type]), group)) {
      // As in the key store.
      records.push({ type, id, value: value || null });
    }
  }
  for (const [id, value] of entriesAt('patch.appState', appState)) {
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

function objectAt(path: string, value: unknown): Record<string, unknown> {
  if (!isPlainObject(value)) {
    throw new ValueError(path, `expected an object, got ${describe(value)}`);
  }
  return value;
}

function entriesAt(path: string, value: unknown): [string, unknown][] {
  return value === undefined || value === null ? [] : Object.entries(objectAt(path, value));
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
