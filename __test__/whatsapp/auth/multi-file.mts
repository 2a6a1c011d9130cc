/** Baileys' own folder of JSON files. */
import { useMultiFileAuthState } from 'baileys';
import type { Auth } from '../../../examples/support/bot.mjs';

export default async function openMultiFile({ folder }: { folder: string }): Promise<Auth> {
  return useMultiFileAuthState(folder);
}
