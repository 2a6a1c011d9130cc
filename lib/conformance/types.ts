import type { AuthenticationState } from '../baileys/types.js';

/** What a hook such as Baileys' `useMultiFileAuthState` resolves to, and how to let go of it. */
export interface OpenedAuthState {
  state: AuthenticationState;
  /** Stores `state.creds`. */
  saveCreds(): Promise<unknown> | unknown;
  /** Lets go of the session. Default: `store.close()` if there is one, else nothing. */
  close?(): Promise<unknown> | unknown;
  store?: { close(): Promise<unknown> | unknown };
}

/**
 * Opens the session of `location`; the same location is the same session, in this process and in others. A location
 * is the path of a folder that does not exist yet, unless `newLocation` makes others: stores that need no folder may
 * take it for a name.
 */
export type AuthStateFactory = (location: string) => Promise<OpenedAuthState>;

/** `describe` and `it` of node:test, vitest or jest. */
export interface TestFramework {
  describe(name: string, body: () => void): unknown;
  it: {
    // biome-ignore lint/suspicious/noExplicitAny: each framework has a context of its own
    (name: string, body: (...context: any[]) => Promise<void>, timeoutMs?: number): unknown;
    // biome-ignore lint/suspicious/noExplicitAny: as above
    skip(name: string, body: (...context: any[]) => Promise<void>): unknown;
  };
}

/** What the store is asked to damage, while it is closed. It holds 64 KiB of random bytes; all else is small. */
export type DamageTarget = { type: 'creds' } | { type: string; id: string };

/** How the cases that kill a process reach the store. */
export interface CrashOptions {
  /** Absolute path of a module that exports the factory. It is loaded by child processes. */
  module: string;
  /** Name of the export. Default `default`. */
  exportName?: string;
  /** Node's own arguments for the child, e.g. a TypeScript loader. Default: those of this process. */
  execArgv?: readonly string[];
  /** Kills at random instants. Default 8. */
  kills?: number;
}

/** What a store may do beyond the contract. Cases of a capability that is not claimed are not run. */
export interface Capabilities {
  /** Ids of 2,000 characters; names of files cannot hold them. */
  veryLongIds?: boolean;
  /** `state.keys.clear()`, which spares the creds. */
  clear?: boolean;
  /** `state.keys.list(type)` and `state.keys.listIds(type)`. */
  list?: boolean;
}

export interface ConformanceOptions {
  /** Title of the suite. Default: the factory's name. */
  name?: string;
  /** Default: vitest's or jest's globals where there are some, else node:test. */
  framework?: TestFramework;
  /** Makes a location for each case. Default: a path below the folder for temporary files. */
  newLocation?: () => Promise<string> | string;
  /** Removes what a case left. Default: removes the folder, unless there is a `newLocation`. */
  removeLocation?: (location: string) => Promise<unknown> | unknown;
  /** Runs between closing and opening again, e.g. restarts a server. Default: nothing. */
  restart?: (location: string) => Promise<unknown> | unknown;
  /** For the cases that kill a process; without it they are reported as skipped. */
  crash?: CrashOptions;
  /** Alters the stored bytes of `target`; without it the cases about damage are reported as skipped. */
  damage?: (location: string, target: DamageTarget) => Promise<unknown> | unknown;
  capabilities?: Capabilities;
  /**
   * Id of a case to the reason why the store fails it. Such a case must go on failing: one that passes fails the
   * suite, so that the list cannot outlive the faults.
   */
  knownFailures?: Readonly<Record<string, string>>;
  /** The Baileys module, where it cannot be found by its name. */
  baileys?: object;
}
