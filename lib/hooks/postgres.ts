import { resolvePostgresHook } from '../options/servers.js';
import type { UsePostgresAuthStateOptions } from '../options/types.js';
import { PostgresAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';
import { type AuthStateResult, openState } from './auth-state.js';

/**
 * A session in PostgreSQL.
 *
 * @throws ConfigError, SessionBusyError, EncryptionError, TimeoutError, StorageError
 */
export async function usePostgresAuthState(
  options: UsePostgresAuthStateOptions,
): Promise<AuthStateResult<PostgresAuthStore>> {
  const settings = resolvePostgresHook(options);
  return await openState(new PostgresAuthStore(new Prepared(settings)), settings);
}
