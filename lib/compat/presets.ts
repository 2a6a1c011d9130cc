import { ConfigError } from '../errors.js';
import type {
  HybridStoreConfig,
  ObservabilityConfig,
  ResilienceConfig,
  SecurityConfig,
  TtlConfig,
} from '../options/types.js';

/** A configuration made for one environment. */
export interface ConfigPreset {
  ttl: TtlConfig;
  resilience: ResilienceConfig;
  security: SecurityConfig;
  observability: ObservabilityConfig;
}

/** An hour's sessions, long timeouts, debug logs, no sealing. */
export const DEVELOPMENT: ConfigPreset = {
  ttl: { defaultTtl: 3_600, credsTtl: 3_600, keysTtl: 3_600, lockTtl: 5 },
  resilience: { operationTimeout: 10_000, maxRetries: 2, retryBaseDelay: 200, retryMultiplier: 2 },
  security: {
    enableEncryption: false,
    enableCompression: false,
    encryptionAlgorithm: 'secretbox',
    compressionAlgorithm: 'snappy',
    keyRotationDays: 365,
    enableDebugLogging: true,
    environment: 'development',
  },
  observability: {
    enableMetrics: true,
    enableTracing: false,
    enableDetailedLogs: true,
    metricsInterval: 60_000,
  },
};

/** A week's sessions, sealed and compressed. */
export const PRODUCTION: ConfigPreset = {
  ttl: { defaultTtl: 604_800, credsTtl: 604_800, keysTtl: 604_800, lockTtl: 5 },
  resilience: { operationTimeout: 5_000, maxRetries: 3, retryBaseDelay: 100, retryMultiplier: 2 },
  security: {
    enableEncryption: true,
    enableCompression: true,
    encryptionAlgorithm: 'aes-256-gcm',
    compressionAlgorithm: 'snappy',
    keyRotationDays: 90,
    enableDebugLogging: false,
    environment: 'production',
  },
  observability: {
    enableMetrics: true,
    enableTracing: false,
    enableDetailedLogs: false,
    metricsInterval: 60_000,
  },
};

/** A minute's sessions, short timeouts, no sealing, no metrics. */
export const TESTING: ConfigPreset = {
  ttl: { defaultTtl: 60, credsTtl: 60, keysTtl: 60, lockTtl: 1 },
  resilience: { operationTimeout: 2_000, maxRetries: 1, retryBaseDelay: 50, retryMultiplier: 1 },
  security: {
    enableEncryption: false,
    enableCompression: false,
    encryptionAlgorithm: 'secretbox',
    compressionAlgorithm: 'gzip',
    keyRotationDays: 365,
    enableDebugLogging: false,
    environment: 'test',
  },
  observability: {
    enableMetrics: false,
    enableTracing: false,
    enableDetailedLogs: false,
    metricsInterval: 5_000,
  },
};

export const PRESETS = { DEVELOPMENT, PRODUCTION, TESTING } as const;

export type PresetName = keyof typeof PRESETS;

/** @throws ConfigError for a name that is none */
export function getPreset(name: PresetName): ConfigPreset {
  if (!Object.hasOwn(PRESETS, name)) {
    throw new ConfigError('presetName', `expected ${Object.keys(PRESETS).join(', ')}`);
  }
  return PRESETS[name];
}

/** A preset with the locations and the key filled in; without `redisUrl`, Redis is expected at localhost:6379. */
export function createHybridConfigFromPreset(
  presetName: PresetName,
  overrides: Partial<
    Pick<HybridStoreConfig, 'mongoUrl' | 'mongoDatabase' | 'mongoCollection' | 'redisUrl' | 'masterKey'>
  >,
): HybridStoreConfig {
  return { mongoUrl: '', ...getPreset(presetName), ...overrides };
}
