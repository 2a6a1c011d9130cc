import { createPrivateKey, createPublicKey } from 'node:crypto';
import { isObject } from '../../folder/identity.js';

/** What a pair of keys is, where one is expected. */
export type PairState = 'good' | 'absent' | 'mangled' | 'mismatched';

const KEY_BYTES = 32;
/** libsignal writes this before the bytes of a public key. */
const PUBLIC_KEY_PREFIX = 5;
/** ASN.1 before the 32 bytes of a private key of X25519. */
const PRIVATE_KEY_HEADER = Buffer.from('302e020100300506032b656e04220420', 'hex');

export function pairState(pair: unknown): PairState {
  if (pair === undefined || pair === null) {
    return 'absent';
  }
  const { private: secret, public: open } = isObject(pair) ? pair : {};
  const key =
    open instanceof Uint8Array && open.length === KEY_BYTES + 1 && open[0] === PUBLIC_KEY_PREFIX
      ? open.subarray(1)
      : open;
  if (!isKey(secret) || !isKey(key)) {
    return 'mangled';
  }
  return Buffer.compare(publicOf(secret), key) === 0 ? 'good' : 'mismatched';
}

const isKey = (value: unknown): value is Uint8Array =>
  value instanceof Uint8Array && value.length === KEY_BYTES;

function publicOf(secret: Uint8Array): Buffer {
  const key = createPrivateKey({
    key: Buffer.concat([PRIVATE_KEY_HEADER, secret]),
    format: 'der',
    type: 'pkcs8',
  });
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-KEY_BYTES);
}
