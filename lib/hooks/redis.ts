import { resolveRedisHook } from '../options/servers.js';
import type { UseRedisAuthStateOptions } from '../options/types.js';
import { RedisAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';
import { type AuthStateResult, openState } from './auth-state.js';

/**
 * A session in Redis, which is its only copy: Redis should persist (AOF) and must not evict.
 *
 * @throws ConfigError, SessionBusyError, EncryptionError, TimeoutError, StorageError
 */
export async function useRedisAuthState(
  options: UseRedisAuthStateOptions,
): Promise<AuthStateResult<RedisAuthStore>> {
  const settings = resolveRedisHook(options);
  return await openState(new RedisAuthStore(new Prepared(settings)), settings);
}
