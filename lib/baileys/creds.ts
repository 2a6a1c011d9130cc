import { asUint8Array, describe, isPlainObject, legacyBytes } from '../codec/index.js';

/** What keeps a value from being credentials, and where. */
interface CredsProblem {
  /** `creds`, or the place in it, e.g. `creds.noiseKey.private`. */
  path: string;
  /** What was expected there and what is there instead; never the value itself. */
  problem: string;
}

type Check = (value: unknown, path: string) => CredsProblem | undefined;

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** libsignal writes this before the bytes of a public key. Baileys takes it off; its Signal code reads both. */
const PUBLIC_KEY_PREFIX = 5;

/**
 * Why `creds` are not credentials that a socket can go on with, or undefined if they are.
 *
 * What every release of Baileys makes at once and cannot do without must be there: the identity, its keys and the
 * counters of its pre-keys. Everything else comes and goes with releases and pairing, and is not looked at.
 */
export function checkCreds(creds: unknown): CredsProblem | undefined {
  try {
    return check(creds, 'creds');
  } catch {
    return { path: 'creds', problem: 'reading it threw (getter or proxy)' };
  }
}

const expected = (path: string, what: string, value: unknown): CredsProblem => ({
  path,
  problem: `expected ${what}, got ${describe(value)}`,
});

const objectOf =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
      return expected(path, 'an object', value);
    }
    for (const [name, check] of Object.entries(fields)) {
      const field = (value as Record<string, unknown>)[name];
      if (field === undefined && !isPlainObject(value)) {
        // A promise or a Map: report the whole value, not the field that it lacks.
        return expected(path, 'an object', value);
      }
      const problem = check(field, `${path}.${name}`);
      if (problem !== undefined) {
        return problem;
      }
    }
    return undefined;
  };

const optional =
  (check: Check): Check =>
  (value, path) =>
    value === undefined || value === null ? undefined : check(value, path);

/** The bytes of `value`, also in the shapes that JSON leaves of them. */
function bytesOf(value: unknown): Uint8Array | undefined {
  if (ArrayBuffer.isView(value)) {
    return asUint8Array(value);
  }
  return typeof value === 'object' && value !== null ? legacyBytes(value, Object.keys(value)) : undefined;
}

function wrongBytes(path: string, what: string, value: unknown): CredsProblem {
  const bytes = bytesOf(value);
  return bytes === undefined
    ? expected(path, what, value)
    : { path, problem: `expected ${what}, got ${bytes.length} bytes` };
}

const bytes =
  (length: number): Check =>
  (value, path) =>
    bytesOf(value)?.length === length ? undefined : wrongBytes(path, `${length} bytes`, value);

const publicKey: Check = (value, path) => {
  const key = bytesOf(value);
  return key?.length === KEY_BYTES || (key?.length === KEY_BYTES + 1 && key[0] === PUBLIC_KEY_PREFIX)
    ? undefined
    : wrongBytes(path, `a public key of ${KEY_BYTES} bytes`, value);
};

const wholeNumber: Check = (value, path) =>
  Number.isSafeInteger(value) && (value as number) >= 0
    ? undefined
    : expected(path, 'a whole number, 0 or more', value);

const text: Check = (value, path) =>
  typeof value === 'string' && value !== '' ? undefined : expected(path, 'a non-empty string', value);

const keyPair = objectOf({ private: bytes(KEY_BYTES), public: publicKey });

const check = objectOf({
  noiseKey: keyPair,
  pairingEphemeralKeyPair: optional(keyPair),
  signedIdentityKey: keyPair,
  signedPreKey: objectOf({ keyPair, signature: bytes(SIGNATURE_BYTES), keyId: wholeNumber }),
  registrationId: wholeNumber,
  advSecretKey: text,
  nextPreKeyId: wholeNumber,
  firstUnuploadedPreKeyId: wholeNumber,
  me: optional(objectOf({})),
});
