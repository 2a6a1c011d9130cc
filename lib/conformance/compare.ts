import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import type { AuthenticationCreds } from '../baileys/types.js';
import type { Baileys, KeyStore } from './baileys.js';

/** What a value must come back as: what Baileys' own JSON makes of it, with every kind of bytes a Buffer. */
function expected(baileys: Baileys, value: unknown): unknown {
  const { replacer, reviver } = baileys.BufferJSON;
  return JSON.parse(JSON.stringify(value, replacer), reviver);
}

/** Fails unless `actual` is `stored`, as a store has to give it back. */
export function expectRecord(
  baileys: Baileys,
  type: string,
  id: string,
  actual: unknown,
  stored: unknown,
): void {
  const name = `${type} ${JSON.stringify(id)}`;
  ok(actual !== null && actual !== undefined, `${name} is absent`);
  if (type === 'app-state-sync-key') {
    // Messages of protobufjs differ in class by how they were made; what they say is their encoding.
    const { AppStateSyncKeyData } = baileys.proto.Message;
    // An encoder also takes base64, which is what is left of bytes that went through JSON.
    ok((actual as { keyData?: unknown }).keyData instanceof Uint8Array, `keyData of ${name} is not bytes`);
    expectBytes(
      name,
      AppStateSyncKeyData.encode(actual).finish(),
      AppStateSyncKeyData.encode(stored).finish(),
    );
    return;
  }
  deepStrictEqual(actual, expected(baileys, stored), `${name} came back changed`);
}

/** Fails unless `actual` are the credentials `stored`. */
export function expectCreds(
  baileys: Baileys,
  actual: AuthenticationCreds,
  stored: AuthenticationCreds,
): void {
  const { ADVSignedDeviceIdentity } = baileys.proto;
  const { account: actualAccount, ...actualRest } = actual;
  const { account: storedAccount, ...storedRest } = stored;
  deepStrictEqual(actualRest, expected(baileys, storedRest), 'the creds came back changed');
  strictEqual(actualAccount === undefined, storedAccount === undefined, 'creds.account');
  if (storedAccount !== undefined) {
    expectBytes(
      'creds.account',
      ADVSignedDeviceIdentity.encode(actualAccount).finish(),
      ADVSignedDeviceIdentity.encode(storedAccount).finish(),
    );
  }
}

function expectBytes(name: string, actual: Uint8Array, stored: Uint8Array): void {
  strictEqual(
    Buffer.from(actual).toString('hex'),
    Buffer.from(stored).toString('hex'),
    `${name} came back changed`,
  );
}

/** The record's value; undefined when there is none, however the store says so. */
export async function read(keys: KeyStore, type: string, id: string): Promise<unknown> {
  const found = await keys.get(type, [id]);
  return Object.hasOwn(found, id) ? (found[id] ?? undefined) : undefined;
}

/** An object with one property of any name, also `__proto__`. */
export function named(id: string, value: unknown): Record<string, unknown> {
  return Object.fromEntries([[id, value]]);
}

/** Whether two sets of credentials are of one identity. */
export function sameIdentity(a: AuthenticationCreds, b: AuthenticationCreds): boolean {
  return (
    a.advSecretKey === b.advSecretKey &&
    Buffer.from(a.noiseKey.private).equals(Buffer.from(b.noiseKey.private)) &&
    Buffer.from(a.signedIdentityKey.private).equals(Buffer.from(b.signedIdentityKey.private))
  );
}
