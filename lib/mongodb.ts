export { useMongoAuthState } from './hooks/mongodb.js';
export type { MongoAuthStoreConfig, UseMongoAuthStateOptions } from './options/types.js';
export { createMongoStore, MongoAuthStore } from './store/stores.js';
