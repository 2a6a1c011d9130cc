import type { AuthStateFactory, OpenedAuthState } from '../../lib/conformance/index.js';

type Baileys = typeof import('baileys', { with: { 'resolution-mode': 'import' }});
type Patch = Record<string, Record<string, unknown> | null | undefined>;

/** What a store can get wrong. Each is a fault that some published store has or had. */
export interface Faults {
  /** Hands out and keeps references. */
  aliases?: true;
  /** Encodes only after having waited. */
  encodesLate?: true;
  /** Reads all, waits, and writes all back. */
  rewritesAll?: true;
  /** Commits record by record. */
  commitsInParts?: true;
  /** Skips records that are null. */
  ignoresNull?: true;
  /** Takes only null for a deletion. */
  keepsFalsy?: true;
  /** Finds credentials only where there are keys. */
  needsKeys?: true;
  /** Gives app-state keys as JSON left them. */
  plainAppStateKeys?: true;
  /** Gives bytes as Uint8Array. */
  bareBytes?: true;
  /** Joins type and id. */
  joinsNames?: true;
  /** Shares one identity between all sessions. */
  oneForAll?: true;
}

interface Kept {
  creds?: string;
  records: Map<string, unknown>;
}

/** A turn of the event loop, as any real storage takes. */
const storageTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A correct store in this process's memory, except for its faults: it is there to test the suite. */
export function memoryStore(faults: Faults = {}): AuthStateFactory {
  const locations = new Map<string, Kept>();
  let baileys: Baileys | undefined;
  return async (given): Promise<OpenedAuthState> => {
    baileys ??= (await import('baileys')) as Baileys;
    const location = faults.oneForAll ? 'all' : given;
    const kept = locations.get(location) ?? { records: new Map() };
    locations.set(location, kept);
    return open(kept, faults, baileys);
  };
}

function open(kept: Kept, faults: Faults, { BufferJSON, initAuthCreds, proto }: Baileys): OpenedAuthState {
  const encode = (value: unknown) => (faults.aliases ? value : JSON.stringify(value, BufferJSON.replacer));
  const decode = (stored: unknown) =>
    typeof stored === 'string' && !faults.aliases ? JSON.parse(stored, BufferJSON.reviver) : stored;
  const nameOf = (type: string, id: string) =>
    faults.joinsNames ? `${type}-${id}` : JSON.stringify([type, id]);
  const isKept = (value: unknown) =>
    faults.keepsFalsy ? value !== undefined && value !== null : Boolean(value);
  const entriesOf = (data: Patch) =>
    Object.entries(data).flatMap(([type, group]) =>
      Object.entries(group ?? {}).map(([id, value]): [string, unknown] => [
        nameOf(type, id),
        isKept(value) ? encode(value) : undefined,
      ]),
    );
  const pending = new Set<Promise<unknown>>();
  const apply = (records: Map<string, unknown>, [name, value]: [string, unknown]) => {
    if (value !== undefined) {
      records.set(name, value);
    } else if (!faults.ignoresNull) {
      records.delete(name);
    }
  };
  const commit = async (data: Patch): Promise<void> => {
    if (faults.encodesLate) {
      await storageTurn();
    }
    const entries = entriesOf(data);
    if (faults.rewritesAll) {
      const all = new Map(kept.records);
      await storageTurn();
      for (const entry of entries) {
        apply(all, entry);
      }
      kept.records = all;
      return;
    }
    for (const entry of entries) {
      if (faults.commitsInParts) {
        await storageTurn();
      }
      apply(kept.records, entry);
    }
    await storageTurn();
  };
  const found = kept.creds !== undefined && (!faults.needsKeys || kept.records.size > 0);
  const creds = found ? JSON.parse(kept.creds as string, BufferJSON.reviver) : initAuthCreds();
  const keys = {
    get: async (type: string, ids: string[]) => {
      const asked = [...ids];
      const result = Object.fromEntries(
        asked
          .map((id) => [id, decode(kept.records.get(nameOf(type, id)))] as const)
          .filter(([, value]) => value !== undefined),
      );
      await storageTurn();
      return Object.fromEntries(
        Object.entries(result).map(([id, value]) => {
          if (type === 'app-state-sync-key' && !faults.plainAppStateKeys) {
            return [id, proto.Message.AppStateSyncKeyData.fromObject(value)];
          }
          return [id, faults.bareBytes ? bare(value) : value];
        }),
      );
    },
    set: async (data: Patch) => {
      const done = commit(data);
      pending.add(done);
      void done.finally(() => pending.delete(done));
      await done;
    },
  };
  return {
    state: { creds, keys: keys as never },
    saveCreds: async () => {
      kept.creds = JSON.stringify(creds, BufferJSON.replacer);
    },
    close: async () => {
      await Promise.all(pending);
    },
  };
}

function bare(value: unknown): unknown {
  if (Buffer.isBuffer(value)) {
    return new Uint8Array(value);
  }
  if (Array.isArray(value)) {
    return value.map(bare);
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, bare(inner)]));
  }
  return value;
}
