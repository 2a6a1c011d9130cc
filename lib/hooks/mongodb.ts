import { resolveMongoHook } from '../options/servers.js';
import type { UseMongoAuthStateOptions } from '../options/types.js';
import { MongoAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';
import { type AuthStateResult, openState } from './auth-state.js';

/**
 * A session in MongoDB.
 *
 * @throws ConfigError, SessionBusyError, EncryptionError, TimeoutError, StorageError
 */
export async function useMongoAuthState(
  options: UseMongoAuthStateOptions,
): Promise<AuthStateResult<MongoAuthStore>> {
  const settings = resolveMongoHook(options);
  return await openState(new MongoAuthStore(new Prepared(settings)), settings);
}
