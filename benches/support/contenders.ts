import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type Baileys, type KeyStore, vault } from './packages.js';

/** An open session. */
export interface Session {
  keys: KeyStore;
  saveCreds(): Promise<unknown>;
  close(): Promise<unknown>;
}

/** A store that is measured. To add one, append it to `contendersOf`. */
export interface Contender {
  name: string;
  /** The same location is the same session. */
  open(location: string): Promise<Session>;
  /** False for stores that forget everything at `close`. */
  persistent: boolean;
}

/** Not a secret: nothing but benchmarks is sealed with it. */
export const MASTER_KEY = 'be9c4ed0'.repeat(8);
const silent = () => {};
export const logger = { debug: silent, info: silent, warn: silent, error: silent };

/** What the others are compared with. */
export const BASELINE = 'multi-file';
export const OURS = 'vault';

export function contendersOf(baileys: Baileys): Contender[] {
  const embedded =
    (options: object): Contender['open'] =>
    async (location) => {
      const { state, saveCreds, store } = await vault.useMultiFileAuthState(location, {
        logger,
        baileys,
        ...options,
      });
      return { keys: state.keys as unknown as KeyStore, saveCreds, close: () => store.close() };
    };
  return [
    { name: OURS, open: embedded({}), persistent: true },
    { name: 'vault, sealed', open: embedded({ masterKey: MASTER_KEY }), persistent: true },
    { name: 'vault, full durability', open: embedded({ durability: 'full' }), persistent: true },
    {
      name: BASELINE,
      open: async (location) => {
        const { state, saveCreds } = await baileys.useMultiFileAuthState(location);
        return { keys: state.keys as unknown as KeyStore, saveCreds, close: async () => {} };
      },
      persistent: true,
    },
    { name: 'memory', open: async () => memory(), persistent: false },
  ];
}

/** One of our sessions in a store that this process has open already for another. */
export async function openInSharedStore(baileys: Baileys, location: string): Promise<Session> {
  const { state, saveCreds, store } = await vault.useHybridAuthState({
    logger,
    baileys,
    sessionId: basename(location),
    embedded: { path: dirname(location) },
  });
  return { keys: state.keys as unknown as KeyStore, saveCreds, close: () => store.close() };
}

/** References in objects: what no store can beat. */
function memory(): Session {
  const types: Record<string, Record<string, unknown>> = {};
  const keys: KeyStore = {
    get: async (type, ids) => {
      const group = types[type] ?? {};
      const found: Record<string, unknown> = {};
      for (const id of ids) {
        if (group[id] !== undefined) {
          found[id] = group[id];
        }
      }
      return found;
    },
    set: async (data) => {
      for (const type in data) {
        types[type] ??= {};
        Object.assign(types[type], data[type]);
      }
    },
  };
  return { keys, saveCreds: async () => {}, close: async () => {} };
}

/** A folder for locations, and its removal. */
export async function makeFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'vault-bench-'));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
