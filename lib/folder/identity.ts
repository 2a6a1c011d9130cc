/** Creds as they are found: nothing about them is sure. */
export type Unchecked = Record<string, unknown>;

export const isObject = (value: unknown): value is Unchecked => typeof value === 'object' && value !== null;

const idOf = (creds: unknown): string | undefined => {
  const me = isObject(creds) && isObject(creds.me) ? creds.me.id : undefined;
  return typeof me === 'string' && me !== '' ? me : undefined;
};

/** The account of these creds, for people. */
export function accountOf(creds: unknown): string {
  return idOf(creds) ?? 'an account not known';
}

/**
 * Whether these creds belong to an account, so that losing them costs something. A pairing code names the account
 * before it is paired.
 */
export function isPaired(creds: unknown): boolean {
  return (
    isObject(creds) &&
    (creds.registered === true ||
      isObject(creds.account) ||
      (idOf(creds) !== undefined && creds.pairingCode === undefined))
  );
}

/** Whether both are of the same identity, at whatever time. */
export function isSameIdentity(one: unknown, other: unknown): boolean {
  const [a, b] = [identityKey(one), identityKey(other)];
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
}

function identityKey(creds: unknown): Uint8Array | undefined {
  const pair = isObject(creds) ? creds.signedIdentityKey : undefined;
  const key = isObject(pair) ? pair.public : undefined;
  return key instanceof Uint8Array ? key : undefined;
}
