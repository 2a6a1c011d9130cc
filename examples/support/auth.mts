/** The auth-state hook the examples use, in one place. */
import { readdir } from 'node:fs/promises';

export { useMultiFileAuthState } from 'baileys';

/** How many records a session folder holds, for the demo's report. */
export async function countRecords(folder: string): Promise<number> {
  return (await readdir(folder)).length;
}
