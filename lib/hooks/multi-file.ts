import { importFolder } from '../import/multi-file.js';
import { resolveFolder } from '../options/embedded.js';
import type { UseMultiFileAuthStateOptions } from '../options/types.js';
import { type AuthStateResult, openState } from '../state.js';
import { EmbeddedAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';

/**
 * Baileys' `useMultiFileAuthState` without its faults: one session, in an embedded store inside `folder`.
 *
 * Files that Baileys' own function left in the folder are imported when it is first opened, all or none, and stay as
 * they are. The folder is created if need be. A second process opening it gets a SessionBusyError.
 *
 * @throws ConfigError, CorruptRecordError when a file of the folder is torn, SessionBusyError, StorageError
 */
export async function useMultiFileAuthState(
  folder: string,
  options: UseMultiFileAuthStateOptions = {},
): Promise<AuthStateResult<EmbeddedAuthStore>> {
  const settings = resolveFolder(folder, options);
  const store = new EmbeddedAuthStore(new Prepared(settings));
  return await openState(store, settings, (session) => importFolder(session, folder, settings.log));
}
