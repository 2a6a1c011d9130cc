/**
 * The built package without the real Baileys, which takes longer to load than everything else that the short-lived
 * processes of these tests do. No test here looks at what the credentials mean.
 */
import { randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { basename, dirname } from 'node:path';

export const vault = createRequire(import.meta.url)('../../dist/index.js');

const keyPair = () => ({ public: randomBytes(32), private: randomBytes(32) });

export const baileys = {
  initAuthCreds: () => ({
    noiseKey: keyPair(),
    pairingEphemeralKeyPair: keyPair(),
    signedIdentityKey: keyPair(),
    signedPreKey: { keyPair: keyPair(), signature: randomBytes(64), keyId: 1 },
    registrationId: 4711,
    advSecretKey: randomBytes(32).toString('base64'),
    nextPreKeyId: 1,
    firstUnuploadedPreKeyId: 1,
    registered: false,
  }),
  proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
};

const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };

/** Not a secret: nothing but tests is sealed with it. */
export const MASTER_KEY = '5ca1ab1e'.repeat(8);

export const folder = (location, options = {}) =>
  vault.useMultiFileAuthState(location, { baileys, logger, ...options });

export const folderSealed = (location, options = {}) =>
  folder(location, { masterKey: MASTER_KEY, ...options });

export const embedded = (location, options = {}) =>
  vault.useHybridAuthState({
    baileys,
    logger,
    sessionId: basename(location),
    embedded: { path: dirname(location) },
    ...options,
  });
