export {
  type ConfigPreset,
  createHybridConfigFromPreset,
  DEVELOPMENT,
  getPreset,
  PRESETS,
  PRODUCTION,
  type PresetName,
  TESTING,
} from './compat/presets.js';
export { useHybridAuthState } from './hooks/hybrid.js';
export type {
  HybridStoreConfig,
  JobOptions,
  PersistJob,
  QueueAdapter,
  UseHybridAuthStateOptions,
} from './options/types.js';
export {
  type BreakerStats,
  createHybridStore,
  type DeadLetter,
  HybridAuthStore,
  type HybridMetrics,
  type OutboxReconcilerStats,
} from './store/stores.js';
