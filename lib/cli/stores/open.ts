import type { OptionSpecs } from '../command.js';
import { usage } from '../errors.js';
import { KEY_OPTIONS, type KeySources, type Keys, readKeys } from '../keys.js';
import type { Output } from '../output.js';
import { type Address, fromVariable, parseAddress } from './address.js';
import { openForeign } from './foreign/open.js';
import { sourceOnly } from './foreign/source.js';
import { JsonSession } from './json-file.js';
import { MultiFileSessions } from './multi-file.js';
import { NoStore } from './no-store.js';
import type { SessionStore } from './store.js';
import { hasStore, VaultSessions } from './vault.js';

export const DEFAULT_TIMEOUT_S = 5;
const STORE_VARIABLE = 'BAILEYS_VAULT_STORE';
const KEY_VARIABLE = 'BAILEYS_VAULT_MASTER_KEY';
const PREVIOUS_VARIABLE = 'BAILEYS_VAULT_PREVIOUS_MASTER_KEYS';

export const TIMEOUT_OPTION = {
  timeout: {
    kind: 'count',
    value: '<seconds>',
    about: `how long to wait for whoever holds a session, and for a server; default ${DEFAULT_TIMEOUT_S}`,
  },
} as const satisfies OptionSpecs;

/** Options of every command that works on one store. */
export const STORE_OPTIONS = {
  store: {
    kind: 'text',
    short: 's',
    value: '<store>',
    path: true,
    about: `the store: a folder or a URL, see baileys-vault --help; default: ${STORE_VARIABLE}`,
  },
  ...KEY_OPTIONS,
  ...TIMEOUT_OPTION,
} as const satisfies OptionSpecs;

/** What a command was told about its store. */
export interface StoreGiven {
  readonly store: string | undefined;
  readonly 'master-key-file': string | undefined;
  readonly 'ask-master-key': boolean;
  readonly 'previous-keys-file': string | undefined;
  readonly timeout: number | undefined;
}

interface Surroundings {
  env: NodeJS.ProcessEnv;
  output: Output;
}

/** The address that an option or a variable gives. */
export function addressOf(
  option: string,
  given: string | undefined,
  variable: string,
  env: NodeJS.ProcessEnv,
): Address {
  if (given !== undefined) {
    return parseAddress(option, given, env);
  }
  if (env[variable] === undefined) {
    throw usage(`no store is named: give ${option} <store>`, `Or set ${variable}.`);
  }
  return fromVariable(variable, env);
}

export const STORE_KEYS = (given: Omit<StoreGiven, 'store' | 'timeout'>): KeySources => ({
  file: ['--master-key-file', given['master-key-file']],
  ask: ['--ask-master-key', given['ask-master-key']],
  previous: ['--previous-keys-file', given['previous-keys-file']],
  variables: [KEY_VARIABLE],
  previousVariables: [PREVIOUS_VARIABLE],
});

export interface OpenSessions {
  address: Address;
  keys: Keys;
  timeout: number | undefined;
  output: Output;
  /** Make a folder that is not there, or, if this is a dry run, take it for an empty store. */
  create?: 'really' | 'dry-run';
  /** Where the store's own warnings go; default: to stderr. */
  warn?: (text: string) => void;
  /** The folder of a `multi-file:` address is itself the session to be written. */
  single?: boolean;
}

export async function openSessions({
  address,
  keys,
  timeout = DEFAULT_TIMEOUT_S,
  output,
  create,
  single = false,
  warn = (text) => output.warn(text),
}: OpenSessions): Promise<SessionStore> {
  const wait = timeout * 1000;
  switch (address.kind) {
    case 'foreign':
      if (create !== undefined) {
        throw sourceOnly(address.shown);
      }
      return await openForeign(address, { keys, timeout: wait, warn });
    case 'multi-file':
      return new MultiFileSessions(address.shown, address.folder, single, warn);
    case 'json':
      return new JsonSession(address.shown, address.file);
    case 'embedded':
      if (create === 'dry-run' && !hasStore(String(address.options.path))) {
        return new NoStore(address.shown);
      }
      break;
  }
  return await VaultSessions.open(address, { keys, timeout: wait, warn, create: create === 'really' });
}

/** Runs `work` with the store that the options name, and closes it whatever happens. */
export async function withStore<T>(
  given: StoreGiven,
  { env, output }: Surroundings,
  work: (store: SessionStore) => Promise<T>,
): Promise<T> {
  const address = addressOf('--store', given.store, STORE_VARIABLE, env);
  const keys = await readKeys(STORE_KEYS(given), env);
  return await using(await openSessions({ address, keys, timeout: given.timeout, output }), work);
}

export async function using<S extends SessionStore, T>(store: S, work: (store: S) => Promise<T>): Promise<T> {
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** The store's own methods, which a folder of files has not. */
export function vaultOf(store: SessionStore, command: string): VaultSessions {
  if (!(store instanceof VaultSessions)) {
    throw usage(`${command} works on stores of Baileys Vault, and ${store.shown} is none`);
  }
  return store;
}
