import { checkCreds } from '../../baileys/creds.js';
import { encodeValue, type RecordEntry } from '../../codec/index.js';
import { isObject, isPaired, type Unchecked } from '../../folder/identity.js';
import { CREDS_TYPE } from '../../store/records.js';
import type { Code, Finding } from './catalogue.js';
import { pairState } from './keys.js';

/** What Baileys keeps on WhatsApp's servers at least. */
const FEW_PREKEYS = 5;
/** Baileys uploads 812 at once at most; a store with so many does not delete what was used. */
const MANY_PREKEYS = 5_000;
const MANY_SESSIONS = 20_000;
const LARGE_SESSION = 128 * 1024;
const APP_STATE_KEY_BYTES = 32;
/** Names told in one finding. */
const TOLD = 5;

type Add = (code: Code, what: string) => void;

/** What is wrong with a session, by its records. */
export function examineRecords(sessionId: string, records: readonly RecordEntry[]): Finding[] {
  const findings: Finding[] = [];
  const add: Add = (code, what) => findings.push({ code, sessionId, what });
  const group = (type: string): RecordEntry[] => records.filter((record) => record.type === type);
  const creds = group(CREDS_TYPE)[0]?.value;
  if (creds === undefined) {
    add('CREDS_MISSING', `${records.length} key records, and no creds`);
  } else {
    examineCreds(creds, add);
  }
  const known = isObject(creds) ? creds : {};
  if (isPaired(known)) {
    examinePreKeys(known, group('pre-key'), add);
    examineAppState(known, group('app-state-sync-key'), add);
  }
  examineSessions(group('session'), add);
  return findings;
}

function examineCreds(creds: unknown, add: Add): void {
  const fields = isObject(creds) ? creds : {};
  const { keyPair } = isObject(fields.signedPreKey) ? fields.signedPreKey : {};
  const pairs: [name: string, pair: unknown][] = [
    ['noiseKey', fields.noiseKey],
    ['signedIdentityKey', fields.signedIdentityKey],
    ['signedPreKey.keyPair', keyPair],
  ];
  const states = pairs.map(([name, pair]) => ({ name, state: pairState(pair) }));
  for (const { name, state } of states) {
    if (state === 'mangled') {
      add('BYTES_MANGLED', `creds.${name} is no pair of keys of 32 bytes`);
    } else if (state === 'mismatched') {
      add('KEYS_DO_NOT_MATCH', `creds.${name}`);
    }
  }
  const wrong = checkCreds(creds);
  if (wrong !== undefined && states.every(({ state }) => state !== 'mangled')) {
    add('CREDS_INCOMPLETE', `${wrong.path}: ${wrong.problem}`);
  }
  if (!isPaired(fields)) {
    add('NOT_PAIRED', 'the creds belong to no account');
  } else if (!isObject(fields.me) || typeof fields.me.id !== 'string') {
    add('ME_MISSING', 'creds.me');
  }
}

function examinePreKeys(creds: Unchecked, preKeys: readonly RecordEntry[], add: Add): void {
  const states = preKeys.map(({ id, value }) => ({ id, state: pairState(value) }));
  const bad = states.filter(({ state }) => state !== 'good').map(({ id }) => id);
  if (bad.length > 0) {
    add('PREKEY_DAMAGED', named('pre-key', bad));
  }
  if (preKeys.length > MANY_PREKEYS) {
    add('PREKEYS_MANY', `${preKeys.length} pre-keys`);
  }
  const { nextPreKeyId, firstUnuploadedPreKeyId } = creds;
  const first =
    typeof firstUnuploadedPreKeyId === 'number' ? firstUnuploadedPreKeyId : Number.POSITIVE_INFINITY;
  const left = states.filter(({ id, state }) => state === 'good' && Number(id) < first).length;
  if (left === 0) {
    add('PREKEYS_USED_UP', 'no pre-key is stored that the server may hand out');
  } else if (left < FEW_PREKEYS) {
    add('PREKEYS_LOW', `${left} left`);
  }
  const current = typeof nextPreKeyId === 'number' ? nextPreKeyId - 1 : 0;
  if (left > 0 && current > 0 && !preKeys.some(({ id }) => id === String(current))) {
    add('PREKEY_CURRENT_MISSING', `pre-key ${current}`);
  }
}

function examineAppState(creds: Unchecked, keys: readonly RecordEntry[], add: Add): void {
  const { myAppStateKeyId } = creds;
  if (typeof myAppStateKeyId === 'string' && !keys.some(({ id }) => id === myAppStateKeyId)) {
    add('APP_STATE_KEY_MISSING', `app-state-sync-key ${myAppStateKeyId}`);
  }
  const bad = keys.filter(({ value }) => !hasKeyData(value)).map(({ id }) => id);
  if (bad.length > 0) {
    add('APP_STATE_KEY_DAMAGED', named('app-state-sync-key', bad));
  }
}

/** Baileys writes it as bytes or, in its own files, as base64. */
function hasKeyData(value: unknown): boolean {
  const keyData = isObject(value) ? value.keyData : undefined;
  const bytes = typeof keyData === 'string' ? Buffer.from(keyData, 'base64') : keyData;
  return bytes instanceof Uint8Array && bytes.length === APP_STATE_KEY_BYTES;
}

function examineSessions(sessions: readonly RecordEntry[], add: Add): void {
  if (sessions.length > MANY_SESSIONS) {
    add('SESSIONS_MANY', `${sessions.length} chat sessions`);
  }
  const bad = sessions.filter(({ value }) => !isObject(value) || !isObject(value._sessions));
  if (bad.length > 0) {
    add(
      'SESSION_DAMAGED',
      named(
        'session',
        bad.map(({ id }) => id),
      ),
    );
  }
  const large = sessions.filter(({ type, value }) => encodeValue(value, type).length > LARGE_SESSION);
  if (large.length > 0) {
    add(
      'SESSION_LARGE',
      named(
        'session',
        large.map(({ id }) => id),
      ),
    );
  }
}

function named(type: string, ids: readonly string[]): string {
  const more = ids.length > TOLD ? ` and ${ids.length - TOLD} more` : '';
  return `${type} ${ids.slice(0, TOLD).join(', ')}${more}`;
}
