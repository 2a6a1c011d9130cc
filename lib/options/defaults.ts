import type { ObservabilityConfig, ResilienceConfig, SecurityConfig, TtlConfig } from './types.js';

/**
 * TTLs of one day, as the package this one replaces has them, for programs that pass them on. They apply only where
 * they are passed: without a `ttl` option sessions never expire.
 */
export const DEFAULT_TTL_CONFIG: TtlConfig = {
  defaultTtl: 86_400,
  credsTtl: 86_400,
  keysTtl: 86_400,
  lockTtl: 5,
};

/** What applies to each absent field of `resilience`. */
export const DEFAULT_RESILIENCE_CONFIG: ResilienceConfig = {
  operationTimeout: 5_000,
  maxRetries: 3,
  retryBaseDelay: 100,
  retryMultiplier: 2,
};

/** What applies to each absent field of `observability`. */
export const DEFAULT_OBSERVABILITY_CONFIG: ObservabilityConfig = {
  enableMetrics: true,
  enableTracing: false,
  enableDetailedLogs: false,
  metricsInterval: 60_000,
};

/**
 * Sealing and compression both on, as the package this one replaces has them, for programs that pass them on: a
 * `masterKey` is then required. Without a `security` option, sealing is on when there is a master key and
 * compression is off.
 */
export const DEFAULT_SECURITY_CONFIG: SecurityConfig = {
  enableEncryption: true,
  encryptionAlgorithm: 'secretbox',
  keyRotationDays: 90,
  enableCompression: true,
  compressionAlgorithm: 'snappy',
};

/** How long a lease lives without being renewed, in ms. */
export const DEFAULT_LEASE = 5_000;
/** How long opening waits for a live owner to let go, in ms. */
export const DEFAULT_OPEN_TIMEOUT = 10_000;
/** Folder of `useHybridAuthState` when no server is configured. */
export const DEFAULT_FOLDER = './baileys_auth';
export const DEFAULT_PREFIX = 'bv';
export const DEFAULT_DATABASE = 'baileys_vault';
export const DEFAULT_COLLECTION = 'vault';
/** Bytes acknowledged and not yet in MongoDB, of all sessions of the process. */
export const DEFAULT_OUTBOX_LIMIT = 256 * 1024 * 1024;
