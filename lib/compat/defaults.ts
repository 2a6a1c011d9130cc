/** The constants that `@luoarch/baileys-store-core` exports, for programs that pass them on. */
import type { SecurityConfig, TtlConfig } from '../options/types.js';

export { DEFAULT_OBSERVABILITY_CONFIG, DEFAULT_RESILIENCE_CONFIG } from '../options/defaults.js';

/**
 * TTLs of one day, as that package has them. They apply only where they are passed: without a `ttl` option sessions
 * never expire.
 */
export const DEFAULT_TTL_CONFIG: TtlConfig = {
  defaultTtl: 86_400,
  credsTtl: 86_400,
  keysTtl: 86_400,
  lockTtl: 5,
};

/**
 * Sealing and compression both on, as that package has them: a `masterKey` is then required. Without a `security`
 * option, sealing is on when there is a master key and compression is off.
 */
export const DEFAULT_SECURITY_CONFIG: SecurityConfig = {
  enableEncryption: true,
  encryptionAlgorithm: 'secretbox',
  keyRotationDays: 90,
  enableCompression: true,
  compressionAlgorithm: 'snappy',
};
