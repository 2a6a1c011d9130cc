import type { AuthenticationCreds } from '../baileys/types.js';
import { ValueError } from '../errors.js';

/** A key pair whose halves are real Buffers. */
export interface TypedKeyPair {
  private: Buffer;
  public: Buffer;
}

/** Credentials whose keys are real Buffers. */
export type TypedAuthenticationCreds = Omit<
  AuthenticationCreds,
  'noiseKey' | 'pairingEphemeralKeyPair' | 'signedIdentityKey' | 'signedPreKey'
> & {
  noiseKey: TypedKeyPair;
  pairingEphemeralKeyPair: TypedKeyPair;
  signedIdentityKey: TypedKeyPair;
  signedPreKey: { keyId: number; keyPair: TypedKeyPair; signature: Buffer };
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

/** True of a Buffer, false of what JSON leaves of one. */
export function isValidBuffer(value: unknown): value is Buffer {
  return Buffer.isBuffer(value);
}

/** True of an object whose `private` and `public` are Buffers. */
export function isValidKeyPair(value: unknown): value is TypedKeyPair {
  return isObject(value) && isValidBuffer(value.private) && isValidBuffer(value.public);
}

/** True of credentials that a socket can start with: all key pairs there, as Buffers, and a registration id. */
export function isValidAuthCreds(value: unknown): value is TypedAuthenticationCreds {
  if (!isObject(value)) {
    return false;
  }
  const { signedPreKey } = value;
  return (
    isValidKeyPair(value.noiseKey) &&
    isValidKeyPair(value.signedIdentityKey) &&
    (value.pairingEphemeralKeyPair === undefined || isValidKeyPair(value.pairingEphemeralKeyPair)) &&
    isObject(signedPreKey) &&
    isValidKeyPair(signedPreKey.keyPair) &&
    isValidBuffer(signedPreKey.signature) &&
    typeof signedPreKey.keyId === 'number' &&
    typeof value.registrationId === 'number'
  );
}

/**
 * Checks that nothing in `value` is what JSON leaves of a Buffer (`{type: 'Buffer', data}`).
 *
 * @throws ValueError naming the first such place
 */
export function assertBufferTypes(value: unknown, path = 'root'): void {
  if (!isObject(value) || ArrayBuffer.isView(value)) {
    return;
  }
  if (value.type === 'Buffer' && 'data' in value) {
    throw new ValueError(path, "is {type: 'Buffer', data} instead of a Buffer");
  }
  for (const [key, inner] of Object.entries(value)) {
    assertBufferTypes(inner, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`);
  }
}
