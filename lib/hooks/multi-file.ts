import { FolderLifeCycle } from '../folder/life-cycle.js';
import { FolderAuthStore } from '../folder/store.js';
import { resolveFolder } from '../options/embedded.js';
import type { UseMultiFileAuthStateOptions } from '../options/types.js';
import type { EmbeddedAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';
import { type AuthStateResult, openState } from './auth-state.js';

/**
 * Baileys' `useMultiFileAuthState` without its faults: one session, in an embedded store inside `folder`.
 *
 * Files that Baileys' own function left in the folder are imported when it is first opened, all or none, and moved to
 * `imported-<date>` in it. The folder is created if need be. A second process opening it gets a SessionBusyError.
 *
 * @throws ConfigError, CorruptRecordError when a file of the folder is torn, ForeignFilesError, SessionBusyError,
 * StorageError
 */
export async function useMultiFileAuthState(
  folder: string,
  options: UseMultiFileAuthStateOptions = {},
): Promise<AuthStateResult<EmbeddedAuthStore>> {
  const settings = resolveFolder(folder, options);
  const lifeCycle = new FolderLifeCycle(settings);
  const store = new FolderAuthStore(new Prepared(settings), lifeCycle);
  return await openState(store, settings, {
    opened: (session) => lifeCycle.open(store.sessionOf(session)),
    saved: (creds) => lifeCycle.credsStored(creds),
  });
}
