/** One file per record, replaced by rename: slow, but a kill never leaves half a record. */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BufferJSON, initAuthCreds } from 'baileys';
import type { Auth } from '../../../examples/support/bot.mjs';

export default async function openAtomicFiles({ folder }: { folder: string }): Promise<Auth> {
  await mkdir(folder, { recursive: true });
  const pathOf = (name: string) => join(folder, encodeURIComponent(name));
  const read = async (name: string) => {
    try {
      return JSON.parse(await readFile(pathOf(name), 'utf8'), BufferJSON.reviver);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  const write = async (name: string, value: unknown) => {
    if (value === null || value === undefined) return rm(pathOf(name), { force: true });
    const draft = pathOf(`draft-${randomUUID()}`);
    await writeFile(draft, JSON.stringify(value, BufferJSON.replacer));
    await rename(draft, pathOf(name));
  };
  const creds = (await read('creds')) ?? initAuthCreds();
  // One after the other, or older ones could be renamed over newer ones.
  let saved: Promise<void> = Promise.resolve();
  return {
    state: {
      creds,
      keys: {
        get: async (type, ids) => {
          const found = await Promise.all(ids.map(async (id) => [id, await read(`${type}-${id}`)] as const));
          return Object.fromEntries(found.filter(([, value]) => value !== undefined));
        },
        set: async (data) => {
          const writes = Object.entries(data).flatMap(([type, values]) =>
            Object.entries(values ?? {}).map(([id, value]) => write(`${type}-${id}`, value)),
          );
          await Promise.all(writes);
        },
      },
    },
    saveCreds: () => {
      saved = saved.catch(() => {}).then(() => write('creds', creds));
      return saved;
    },
  };
}
