/** An auth store in memory that copies on both sides, as a store with real I/O does. */
import { BufferJSON, initAuthCreds, type SignalDataTypeMap } from 'baileys';
import type { Auth } from '../../../examples/support/bot.mjs';

let shared: Auth | undefined;

/** One session per process, whatever the options: it survives reconnects and dies with the process. */
export default async function openMemory(): Promise<Auth> {
  shared ??= newMemoryAuth();
  return shared;
}

function newMemoryAuth(): Auth {
  const records = new Map<string, string>();
  const read = (type: string, id: string) => {
    const stored = records.get(`${type}-${id}`);
    return stored === undefined ? undefined : JSON.parse(stored, BufferJSON.reviver);
  };
  return {
    state: {
      creds: initAuthCreds(),
      keys: {
        get: async <T extends keyof SignalDataTypeMap>(type: T, ids: string[]) => {
          const found = ids.map((id) => [id, read(type, id)] as const);
          return Object.fromEntries(found.filter(([, value]) => value !== undefined));
        },
        set: async (data) => {
          for (const [type, values] of Object.entries(data)) {
            for (const [id, value] of Object.entries(values ?? {})) {
              if (value === null || value === undefined) records.delete(`${type}-${id}`);
              else records.set(`${type}-${id}`, JSON.stringify(value, BufferJSON.replacer));
            }
          }
        },
      },
    },
    saveCreds: async () => undefined,
  };
}
