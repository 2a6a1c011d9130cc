/** The defaults. The core has none of its own: it is sent every value. */
import type { BreakerConfig, ObservabilityConfig, ResilienceConfig } from './types.js';

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

/** What applies to each absent field of `resilience.breaker`. */
export const DEFAULT_BREAKER: BreakerConfig = { errorThreshold: 0.5, window: 10_000, coolDown: 30_000 };

/** How long a lease lives without being renewed, in ms. */
export const DEFAULT_LEASE = 5_000;
/** How long opening waits for a live owner to let go, in ms. */
export const DEFAULT_OPEN_TIMEOUT = 10_000;
export const DEFAULT_DURABILITY = 'process';
/** Folder of `useHybridAuthState` when no server is configured. */
export const DEFAULT_FOLDER = './baileys_auth';
export const DEFAULT_PREFIX = 'bv';
/** How long replicas are waited for that must confirm a write, in ms. */
export const DEFAULT_REPLICAS_TIMEOUT = 1_000;
export const DEFAULT_DATABASE = 'baileys_vault';
export const DEFAULT_COLLECTION = 'vault';
export const DEFAULT_SCHEMA = 'baileys_vault';
/** Connections to PostgreSQL: one for commits, one for all else. */
export const DEFAULT_CONNECTIONS = 2;
/** Bytes acknowledged and not yet in MongoDB, of all sessions of the process. */
export const DEFAULT_OUTBOX_LIMIT = 256 * 1024 * 1024;
