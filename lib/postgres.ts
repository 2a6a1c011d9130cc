export { usePostgresAuthState } from './hooks/postgres.js';
export type { PostgresStoreConfig, UsePostgresAuthStateOptions } from './options/types.js';
export { createPostgresStore, PostgresAuthStore } from './store/stores.js';
