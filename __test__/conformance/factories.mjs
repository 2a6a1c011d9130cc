/** Every store that is put to the suite, as the processes that are killed load it: plain JavaScript, the built package. */
import { createRequire } from 'node:module';
import { basename, dirname } from 'node:path';

const vault = createRequire(import.meta.url)('../../dist/index.js');

/** Not a secret: nothing but tests is sealed with it. */
export const MASTER_KEY = 'c0ffee42'.repeat(8);

const silent = () => {};
/** The suite damages and kills on purpose, and then the store rightly says so. */
const logger = { debug: silent, info: silent, warn: silent, error: silent };

export const folder = (location) => vault.useMultiFileAuthState(location, { logger });

export const folderSealed = (location) =>
  vault.useMultiFileAuthState(location, { logger, masterKey: MASTER_KEY });

export const folderUncached = (location) => vault.useMultiFileAuthState(location, { logger, cacheBytes: 0 });

export const embedded = (location) =>
  vault.useHybridAuthState({
    logger,
    sessionId: basename(location),
    embedded: { path: dirname(location) },
  });

export const embeddedSealedFull = (location) =>
  vault.useHybridAuthState({
    logger,
    sessionId: basename(location),
    embedded: { path: dirname(location) },
    durability: 'full',
    masterKey: MASTER_KEY,
    security: { encryptionAlgorithm: 'aes-256-gcm', enableCompression: true },
  });
