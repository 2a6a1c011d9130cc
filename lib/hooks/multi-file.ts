import { FolderLife } from '../folder/life.js';
import { FolderAuthStore } from '../folder/store.js';
import { resolveFolder } from '../options/embedded.js';
import type { UseMultiFileAuthStateOptions } from '../options/types.js';
import { type AuthStateResult, openState } from '../state.js';
import type { EmbeddedAuthStore } from '../store/stores.js';
import { Prepared } from '../store/vault-store.js';

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
  const life = new FolderLife(settings);
  const store = new FolderAuthStore(new Prepared(settings), life);
  return await openState(store, settings, {
    opened: (session) => life.begin(store.sessionOf(session)),
    saved: (creds) => life.keep(creds),
  });
}
