export { useRedisAuthState } from './hooks/redis.js';
export type { RedisStoreConfig, UseRedisAuthStateOptions } from './options/types.js';
export { createRedisStore, RedisAuthStore } from './store/stores.js';
