import { ConfigError, fromNative, type NativeError } from '../errors.js';
import type { NativeEvent } from '../native/completion.js';
import { type CoreThread, coreThread } from '../native/thread.js';
import type { LogLevel } from '../options/logger.js';
import type { StoreSettings } from '../options/shared.js';
import type { PersistJob } from '../options/types.js';
import { keysOf } from './master-keys.js';

const log = (settings: StoreSettings, { level, message, fields }: NativeEvent): void =>
  settings.log(level as LogLevel, String(message), (fields ?? {}) as Record<string, unknown>);

/** What is needed to close a store that the program has dropped. */
interface Registration {
  thread: CoreThread;
  id: number;
  detach: () => void;
}

/** Closes stores in the core that the program has dropped without closing them. */
const abandoned = new FinalizationRegistry<Registration>(({ thread, id, detach }) => {
  detach();
  thread.core.closeStore(id);
});

/** Notices that were logged: a program passes the same options at every reconnect. */
const logged = new Set<string>();

/** Which server's options an error of a layer is about. */
const SECTION_OF: Readonly<Record<string, keyof StoreSettings['fields'] | undefined>> = {
  redis: 'redis',
  mongo: 'mongodb',
  postgres: 'postgres',
};

/** Waits for `work`. A ConfigError of a server then names the option that it is about. */
export async function withFieldNames<T>({ fields }: StoreSettings, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const server = error instanceof ConfigError && error.details.field === undefined;
    const name = server ? SECTION_OF[error.layer ?? ''] : undefined;
    const about = name === undefined ? undefined : fields[name];
    if (!server || about === undefined) {
      throw error;
    }
    const { expected, layer, sessionId, details, cause } = error;
    const field = /certificate|TLS/.test(expected)
      ? about.tls
      : /password|credentials/.test(expected)
        ? about.login
        : about.server;
    throw new ConfigError(field, expected, { layer, sessionId, details, cause });
  }
}

/** An open store in the core, and the listener to its events. */
export class Connection {
  private readonly leases = new Map<number, (error: Error) => void>();
  /** Hidden at run time too: they hold keys. */
  readonly #settings: StoreSettings;

  private constructor(
    readonly thread: CoreThread,
    readonly id: number,
    settings: StoreSettings,
    private readonly registration: Registration,
  ) {
    this.#settings = settings;
  }

  static async open(settings: StoreSettings, thread: CoreThread = coreThread()): Promise<Connection> {
    for (const notice of settings.notices) {
      if (!logged.has(notice)) {
        logged.add(notice);
        settings.log('warn', notice, {});
      }
    }
    const { masterKey, previousMasterKeys } = await keysOf(settings);
    const request = thread.core.openStore(JSON.stringify(settings.config), masterKey, previousMasterKeys);
    // The core waits for a server that is not up yet. Its events meanwhile name the request: there is no store yet.
    const stopListening = thread.listen((event) => {
      if (event.event === 'log' && event.opening === request) {
        log(settings, event);
      }
    });
    let opened: unknown;
    try {
      opened = await withFieldNames(settings, thread.json(request));
    } finally {
      stopListening();
    }
    const { store, warnings } = opened as { store: number; warnings?: string[] };
    for (const warning of warnings ?? []) {
      settings.log('warn', warning, {});
    }
    const registration: Registration = { thread, id: store, detach: () => {} };
    const connection = new Connection(thread, store, settings, registration);
    // Weak: the thread's list of listeners must not keep a store alive that the program has dropped.
    const weak = new WeakRef(connection);
    registration.detach = thread.listen((event, first) => weak.deref()?.handle(event, first));
    abandoned.register(connection, registration, connection);
    return connection;
  }

  /** Calls `onLost` when the lease of `session` is lost. */
  watchLease(session: number, onLost: (error: Error) => void): void {
    this.leases.set(session, onLost);
  }

  unwatchLease(session: number): void {
    this.leases.delete(session);
  }

  async close(): Promise<void> {
    abandoned.unregister(this);
    try {
      await this.thread.done(this.thread.core.closeStore(this.id));
    } finally {
      this.registration.detach();
    }
  }

  private handle(event: NativeEvent, first: boolean): void {
    switch (event.event) {
      case 'log':
        if (event.opening === undefined && (event.store === undefined ? first : event.store === this.id)) {
          log(this.#settings, event);
        }
        break;
      case 'leaseLost':
        this.leases.get(event.session as number)?.(fromNative(event.error as NativeError));
        break;
      case 'queue':
        if (event.store === this.id) {
          void this.enqueue(event);
        }
        break;
    }
  }

  private async enqueue(event: NativeEvent): Promise<void> {
    const { request, jobName, sessionId, version, fencingToken, timestamp, payloadBase64 } = event;
    const job = { sessionId, version, fencingToken, timestamp, sealed: payloadBase64 } as PersistJob;
    let failure: string | null = null;
    try {
      await this.#settings.queue?.add(String(jobName), job);
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
    this.thread.core.queueDone(request as number, failure);
  }
}
