import { ConfigError, fromNative, type NativeError } from '../errors.js';
import type { NativeEvent } from '../native/completion.js';
import { type CoreThread, coreThread } from '../native/thread.js';
import type { LogLevel } from '../options/logger.js';
import type { StoreSettings } from '../options/shared.js';
import type { PersistJob } from '../options/types.js';

const log = (settings: StoreSettings, { level, message, fields }: NativeEvent): void =>
  settings.log(level as LogLevel, String(message), (fields ?? {}) as Record<string, unknown>);

interface Handle {
  thread: CoreThread;
  id: number;
  detach: () => void;
}

/** Lets go of stores whose every handle was dropped without being closed. */
const dropped = new FinalizationRegistry<Handle>(({ thread, id, detach }) => {
  detach();
  thread.core.closeStore(id);
});

/** Notices of this process: the same options are passed at every reconnect. */
const said = new Set<string>();

/** What `work` resolves to; a server's refusal of the options names the option that it is about. */
export async function named<T>({ fields }: StoreSettings, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const server = error instanceof ConfigError && error.details.field === undefined;
    const about = server ? fields[error.layer === 'mongo' ? 'mongodb' : 'redis'] : undefined;
    if (!server || about === undefined || (error.layer !== 'mongo' && error.layer !== 'redis')) {
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

/** An open store in the core, and the ear for what the core says about it. */
export class Connection {
  private readonly leases = new Map<number, (error: Error) => void>();
  /** Hidden at run time too: they hold keys. */
  readonly #settings: StoreSettings;

  private constructor(
    readonly thread: CoreThread,
    readonly id: number,
    settings: StoreSettings,
    private readonly handle: Handle,
  ) {
    this.#settings = settings;
  }

  static async open(settings: StoreSettings, thread: CoreThread = coreThread()): Promise<Connection> {
    for (const notice of settings.notices) {
      if (!said.has(notice)) {
        said.add(notice);
        settings.log('warn', notice, {});
      }
    }
    const { masterKey, previousMasterKeys } = settings.security;
    const request = thread.core.openStore(JSON.stringify(settings.config), masterKey, previousMasterKeys);
    // A server that is not up yet is waited for; what is said meanwhile names the request, for there is no store yet.
    const hush = thread.listen((event) => {
      if (event.event === 'log' && event.opening === request) {
        log(settings, event);
      }
    });
    let opened: unknown;
    try {
      opened = await named(settings, thread.json(request));
    } finally {
      hush();
    }
    const { store, warnings } = opened as { store: number; warnings?: string[] };
    for (const warning of warnings ?? []) {
      settings.log('warn', warning, {});
    }
    const handle: Handle = { thread, id: store, detach: () => {} };
    const connection = new Connection(thread, store, settings, handle);
    // Weak, so that a store nobody holds any more can be let go although the thread still knows the listener.
    const ear = new WeakRef(connection);
    handle.detach = thread.listen((event, first) => ear.deref()?.hear(event, first));
    dropped.register(connection, handle, connection);
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
    dropped.unregister(this);
    try {
      await this.thread.done(this.thread.core.closeStore(this.id));
    } finally {
      this.handle.detach();
    }
  }

  private hear(event: NativeEvent, first: boolean): void {
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
