import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CREDS_FILE } from '../import/file-names.js';
import { parse, readBytesNow } from '../import/read-file.js';
import { isObject, type Unchecked } from './identity.js';

/**
 * The `creds.json` that stands where Baileys' own would, for the many programs that look whether there is one, or read
 * in it whether the account is paired. It holds no key.
 */

/** The field that tells a marker from Baileys' own file. */
const FIELD = 'baileysVault';

const TEXT =
  'Not credentials: Baileys Vault keeps this session in vault.db beside this file. Open the folder with ' +
  "useMultiFileAuthState of 'baileys-vault'. To export the session, write (await store.get()).data with " +
  'BufferJSON of Baileys.';

/**
 * Baileys' own function takes whatever is JSON for credentials. It uses `routingInfo` before it sends its first byte,
 * and what it finds here throws: at once in newer releases, which ask for the length, else when the connection opens,
 * since these are no bytes. Each names what it found, by `byteLength` or the name of the constructor.
 */
const NO_CREDENTIALS = 'Baileys Vault has this session, see baileysVault in creds.json';
const STOP = { byteLength: ` ${NO_CREDENTIALS} `, constructor: { name: NO_CREDENTIALS } };

/** What the marker says about these creds, as a text to compare. */
export function summaryOf({ me, registered, platform }: Unchecked): string {
  const { id, lid, name } = isObject(me) ? me : {};
  return [isObject(me), id, lid, name, registered === true, platform].join('\0');
}

/** The marker's text for these creds. */
export function markerOf({ me, registered, platform }: Unchecked): string {
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const content = {
    [FIELD]: TEXT,
    me: isObject(me) ? { id: text(me.id), lid: text(me.lid), name: text(me.name) } : undefined,
    registered: registered === true,
    platform: text(platform),
    routingInfo: STOP,
  };
  return `${JSON.stringify(content, undefined, 2)}\n`;
}

/** What the file at the name of the creds is. */
type CredsFile = { kind: 'none' } | { kind: 'marker'; text: string } | { kind: 'foreign' };

export function inspectCredsFile(folder: string, name = CREDS_FILE): CredsFile {
  const bytes = readBytesNow(folder, name);
  if (bytes === undefined) {
    return { kind: 'none' };
  }
  const content = parse(bytes);
  return content.ok && isObject(content.value) && Object.hasOwn(content.value, FIELD)
    ? { kind: 'marker', text: bytes.toString('utf8') }
    : { kind: 'foreign' };
}

/** Whether the folder's `creds.json` is exactly this text. */
export function isMarker(folder: string, text: string): boolean {
  return readBytesNow(folder, CREDS_FILE)?.toString('utf8') === text;
}

/** Replaces the file in one step, so that no reader sees half of it. */
export async function writeMarker(folder: string, text: string): Promise<void> {
  const draft = join(folder, `vault.creds.${randomBytes(6).toString('hex')}.new`);
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(text);
      // Otherwise power loss could leave the name with an empty file.
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, join(folder, CREDS_FILE));
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

export async function removeMarker(folder: string): Promise<void> {
  await rm(join(folder, CREDS_FILE), { force: true });
}
