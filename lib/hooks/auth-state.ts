import { checkCreds } from '../baileys/creds.js';
import { loadBaileys } from '../baileys/load.js';
import type {
  AuthenticationState,
  BaileysModule,
  SignalDataTypeMap,
  SignalKeyStore,
} from '../baileys/types.js';
import { CorruptRecordError, fromNative, type StorageError } from '../errors.js';
import type { SessionSettings } from '../options/servers.js';
import { CREDS_TYPE, credsRecord } from '../store/records.js';
import type { Patch, Session } from '../store/session.js';
import type { VaultStore } from '../store/vault-store.js';

/** Values read at a time while all of a type are listed. */
const LIST_STEP = 256;

/**
 * Baileys' key store, and what newer releases of Baileys ask of one.
 *
 * `get` leaves an id out of its answer that has no record; Baileys' own `useMultiFileAuthState` answers null for it.
 * `set` deletes a record whose value is null, undefined or otherwise falsy, as Baileys' own does.
 */
export type VaultKeyStore = SignalKeyStore & {
  /** Deletes every record but the creds. */
  clear(): Promise<void>;
  /** Every record of a type. Records written meanwhile may or may not be among them. */
  list<T extends keyof SignalDataTypeMap>(
    type: T,
  ): AsyncIterable<readonly [id: string, value: SignalDataTypeMap[T]]>;
  /** The id of every record of a type. */
  listIds<T extends keyof SignalDataTypeMap>(type: T): AsyncIterable<string>;
};

/** What a hook resolves to. */
export interface AuthStateResult<S extends VaultStore = VaultStore> {
  /** Give it to `makeWASocket({ auth: state })`. */
  state: AuthenticationState & { keys: VaultKeyStore };
  /**
   * Stores `state.creds` as they are at the time of the call; call it on `creds.update`. A failure is logged and
   * rejects the promise; dropping the promise, as an event emitter does, does not end the process.
   */
  saveCreds: () => Promise<void>;
  /** The store behind, for this and any other session. `store.close()` ends all of it. */
  store: S;
}

/** Observes a session that a hook opens. */
interface SessionObserver {
  /** Called before anything is read; resolves to the creds that are stored then, undefined if there are none. */
  opened(session: Session): Promise<unknown>;
  /** Called with creds that were stored, before `saveCreds` resolves. It must not fail. */
  saved(creds: unknown): Promise<void>;
}

/**
 * Opens the session of `settings` in a store of its own.
 *
 * The store is closed again when anything fails.
 */
export async function openState<S extends VaultStore>(
  store: S,
  settings: SessionSettings,
  observer?: SessionObserver,
): Promise<AuthStateResult<S>> {
  const baileys = await loadBaileys(settings.baileys, (message) => settings.log('warn', message, {}));
  await store.connect();
  try {
    const session = await store.openSession(settings.sessionId, settings.fencingToken);
    store.adopt(settings.sessionId);
    const stored = await (observer === undefined ? session.creds() : observer.opened(session));
    const creds = stored === undefined ? baileys.initAuthCreds() : wholeCreds(stored, settings.sessionId);
    const state = { creds, keys: keyStore(session, baileys) } as AuthStateResult['state'];
    const saveCreds = async (): Promise<void> => {
      const { creds } = state;
      const completion = await session.putRecords([credsRecord(creds)]);
      if (!completion.ok) {
        throw fromNative(completion.error);
      }
      store.remindOfRotation();
      await observer?.saved(creds);
    };
    return {
      state,
      saveCreds: () => {
        const saving = saveCreds();
        // Event emitters drop the promise that a listener returns: were this not here, a failure would end the process.
        saving.catch((error: Partial<StorageError>) => {
          const { code, message } = error;
          settings.log('error', 'the creds were not saved', {
            sessionId: session.sessionId,
            code,
            error: message,
          });
        });
        return saving;
      },
      store,
    };
  } catch (error) {
    // What went wrong first is what the program needs to know.
    await store.disconnect().catch(() => {});
    throw error;
  }
}

/** Stored creds, which are never to be replaced by new ones because something is wrong with them. */
function wholeCreds(creds: unknown, sessionId: string): unknown {
  const wrong = checkCreds(creds);
  if (wrong !== undefined) {
    throw new CorruptRecordError(`${wrong.path}: ${wrong.problem}`, CREDS_TYPE, undefined, {
      layer: 'session',
      sessionId,
      details: { path: wrong.path },
    });
  }
  return creds;
}

function keyStore(session: Session, baileys: BaileysModule): VaultKeyStore {
  const { AppStateSyncKeyData } = baileys.proto.Message;
  const revive = (value: unknown): unknown =>
    AppStateSyncKeyData.fromObject(value as Record<string, unknown>);
  const reviverOf = (type: string): typeof revive | undefined =>
    type === 'app-state-sync-key' ? revive : undefined;
  const store = {
    get: (type: string, ids: string[]) => session.get(type, ids, reviverOf(type)),
    set: async (data: Patch) => {
      const completion = await session.put(data);
      if (!completion.ok) {
        throw fromNative(completion.error);
      }
    },
    clear: async () => {
      const completion = await session.clear();
      if (!completion.ok) {
        throw fromNative(completion.error);
      }
    },
    async *list(type: string) {
      const ids = await session.listIds(type);
      for (let at = 0; at < ids.length; at += LIST_STEP) {
        const values = await session.get(type, ids.slice(at, at + LIST_STEP), reviverOf(type));
        yield* Object.entries(values);
      }
    },
    async *listIds(type: string) {
      yield* await session.listIds(type);
    },
  };
  return store as unknown as VaultKeyStore;
}
