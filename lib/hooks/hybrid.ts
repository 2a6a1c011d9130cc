import { ConfigError } from '../errors.js';
import { isEmpty } from '../options/check.js';
import { resolveServerless } from '../options/embedded.js';
import { resolveHybridHook, type SessionSettings } from '../options/servers.js';
import type { HybridStoreConfig, UseHybridAuthStateOptions } from '../options/types.js';
import { HybridAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';
import { type AuthStateResult, openState } from './auth-state.js';

let notified = false;

/**
 * A session in Redis with MongoDB as the primary; or, without the option `hybrid`, in one embedded store for all
 * sessions, under `./baileys_auth`.
 *
 * @throws ConfigError, SessionBusyError, EncryptionError, TimeoutError, StorageError
 */
export async function useHybridAuthState(
  options: UseHybridAuthStateOptions,
): Promise<AuthStateResult<HybridAuthStore>> {
  const settings = resolve(options);
  return await openState(new HybridAuthStore(new Prepared(settings)), settings);
}

function resolve(options: UseHybridAuthStateOptions): SessionSettings {
  // A section whose URLs are missing is a mistake, not a wish for no servers: only its absence is.
  if (!isEmpty((options as { hybrid?: HybridStoreConfig } | undefined)?.hybrid)) {
    for (const name of ['embedded', 'durability'] as const) {
      if (options[name] !== undefined) {
        throw new ConfigError(name, 'is for the embedded store: it cannot be given together with hybrid');
      }
    }
    const { embedded: _, durability: __, ...rest } = options;
    return resolveHybridHook(rest);
  }
  const settings = resolveServerless(options);
  if (!notified && settings.config.backend === 'embedded') {
    notified = true;
    settings.log('warn', 'no servers configured: all sessions are kept in one embedded store', {
      folder: settings.config.embedded.folder,
    });
  }
  return settings;
}
