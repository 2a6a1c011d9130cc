import { access, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { CREDS_FILE } from '../import/file-names.js';

/** A name for a folder that is not there yet: what is moved into it, and the day. */
export async function freshName(folder: string, what: 'imported' | 'ignored', now: Date): Promise<string> {
  const day = `${what}-${now.toISOString().slice(0, 10)}`;
  for (let count = 1; ; count += 1) {
    const name = count === 1 ? day : `${day}-${count}`;
    if (!(await exists(join(folder, name)))) {
      return name;
    }
  }
}

/** Moves files into a folder beside them, the creds last: while those are there, the rest may be too. */
export async function putAside(folder: string, names: readonly string[], into: string): Promise<void> {
  await mkdir(join(folder, into), { recursive: true, mode: 0o700 });
  const creds = names.filter((name) => name.startsWith(CREDS_FILE)).sort();
  const keys = names.filter((name) => !name.startsWith(CREDS_FILE));
  for (const name of [...keys, ...creds.reverse()]) {
    try {
      await rename(join(folder, name), join(folder, into, name));
    } catch (error) {
      // Another thread of this process may be moving the same files.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        throw error;
      }
    }
  }
}

export async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
