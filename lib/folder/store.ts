import { FOLDER_SESSION } from '../options/embedded.js';
import type { Session } from '../store/session.js';
import { EmbeddedAuthStore } from '../store/stores.js';
import type { Prepared } from '../store/vault-store.js';
import type { FolderLifeCycle, FolderSession } from './life-cycle.js';

/** The store of a folder with one session, whose `creds.json` goes with it. */
export class FolderAuthStore extends EmbeddedAuthStore {
  /** Not to be seen from outside: it knows the settings, and so the keys. */
  readonly #lifeCycle: FolderLifeCycle;

  constructor(prepared: Prepared, lifeCycle: FolderLifeCycle) {
    super(prepared);
    this.#lifeCycle = lifeCycle;
  }

  override async set(
    ...[sessionId, patch, ...rest]: Parameters<EmbeddedAuthStore['set']>
  ): ReturnType<EmbeddedAuthStore['set']> {
    const done = await super.set(sessionId, patch, ...rest);
    if (sessionId === FOLDER_SESSION && patch.creds !== undefined) {
      await this.#lifeCycle.credsStored(patch.creds);
    }
    return done;
  }

  override async delete(
    ...given: Parameters<EmbeddedAuthStore['delete']>
  ): ReturnType<EmbeddedAuthStore['delete']> {
    const done = await super.delete(...given);
    const [sessionId = FOLDER_SESSION] = given;
    if (sessionId === FOLDER_SESSION) {
      await this.#lifeCycle.sessionDeleted();
    }
    return done;
  }

  /** @internal What the folder needs from a session of this store. */
  sessionOf(session: Session): FolderSession {
    return {
      version: () => session.version(),
      creds: () => session.creds(),
      names: async () => (await this.snapshot(session.sessionId))?.records ?? [],
      import: (frame, length, version, note) => session.import(frame, length, version, note),
      notes: () => session.notes(),
    };
  }
}
