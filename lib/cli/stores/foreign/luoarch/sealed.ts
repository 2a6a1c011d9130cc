/**
 * How `@luoarch/baileys-store-core` stores a value: JSON, with each Buffer as `{ type: 'Buffer', data: [bytes] }`; packed
 * by gzip or in Snappy's raw format, if that is switched on; sealed by AES-256-GCM (`nonce 12 | ciphertext | tag 16`), if
 * that is, also where the algorithm is called `secretbox`. Nothing says how a value was packed. A key is known by the first
 * 16 hex digits of its SHA-256, and only in Redis.
 */
import { createDecipheriv, createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { CompressionError, EncryptionError } from '../../../../errors.js';
import { unpackSnappy } from '../../../../native/foreign/snappy.js';
import type { Keys } from '../../../keys.js';
import { readJsonValue, type SourcePlace } from '../records.js';

const ALGORITHM = 'aes-256-gcm';
const NONCE = 12;
const TAG = 16;
const KEY_ID = 16;
/** What a value may grow to: one may be all keys of a session. */
const MOST = 512 * 1024 * 1024;
const GZIP = Buffer.from([0x1f, 0x8b]);
/** How the JSON of every value begins that the package stores. */
const OBJECT = 0x7b;

/** The keys of an address, the current one first. */
export const allKeys = ({ masterKey, previousMasterKeys = [] }: Keys): Buffer[] =>
  masterKey === undefined ? [] : [masterKey, ...previousMasterKeys];

export const keyIdOf = (key: Buffer): string =>
  createHash('sha256').update(key).digest('hex').slice(0, KEY_ID);

/** What was sealed; undefined if this key does not open it. */
export function unseal(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer | undefined {
  if (nonce.length !== NONCE || sealed.length < TAG) {
    return undefined;
  }
  const decipher = createDecipheriv(ALGORITHM, key, nonce, { authTagLength: TAG });
  decipher.setAuthTag(sealed.subarray(-TAG));
  const plain = decipher.update(sealed.subarray(0, -TAG));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
}

/**
 * A value that may be sealed, of which nothing says whether it is.
 *
 * @throws EncryptionError when it is, and no key opens it
 */
export function unsealAny(place: SourcePlace, name: string, keys: readonly Buffer[], stored: Buffer): Buffer {
  const [nonce, sealed] = [stored.subarray(0, NONCE), stored.subarray(NONCE)];
  for (const key of keys) {
    const plain = unseal(key, nonce, sealed);
    if (plain !== undefined) {
      return plain;
    }
  }
  const unpacked = tryUnpack(stored);
  if (unpacked === undefined || unpacked[0] !== OBJECT) {
    throw notOpened(place, name, keys);
  }
  return stored;
}

export const notOpened = (
  { sessionId, shown }: SourcePlace,
  name: string,
  keys: readonly Buffer[],
  keyId?: string,
): EncryptionError => {
  const by = keyId === undefined ? '' : ` by the key ${keyId}`;
  const given = keys.length === 0 ? 'and no master key was given' : 'and no key that was given opens it';
  return new EncryptionError(`${name} of ${JSON.stringify(sessionId)} is sealed${by}, ${given}`, {
    layer: 'import',
    sessionId,
    details: { store: shown, record: name, ...(keyId !== undefined && { keyId }) },
  });
};

/**
 * The value that was packed.
 *
 * @throws CompressionError, CorruptRecordError naming it
 */
export function unpack(place: SourcePlace, name: string, packed: Buffer): unknown {
  const text = tryUnpack(packed);
  if (text === undefined) {
    throw new CompressionError(
      `${name} of ${JSON.stringify(place.sessionId)} is neither JSON, nor packed by gzip or Snappy`,
      {
        layer: 'import',
        sessionId: place.sessionId,
        details: { store: place.shown, record: name },
      },
    );
  }
  return readJsonValue(place, name, text);
}

/** No block of Snappy begins as JSON does: behind its length it would have to copy what is not there yet. */
function tryUnpack(packed: Buffer): Buffer | undefined {
  if (packed[0] === OBJECT && packed[1] === 0x22) {
    return packed;
  }
  if (packed.subarray(0, 2).equals(GZIP)) {
    try {
      return gunzipSync(packed, { maxOutputLength: MOST });
    } catch {
      return undefined;
    }
  }
  return unpackSnappy(packed);
}
