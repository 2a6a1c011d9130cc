import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, CorruptRecordError } from '../../errors.js';
import { type Digests, differences } from '../digest.js';

/**
 * A backup is a folder of Baileys Vault with a manifest beside it, which is written last: without one, the backup was
 * broken off.
 */

export const MANIFEST = 'manifest.json';
const FORMAT = 'baileys-vault backup';
const VERSION = 1;

/** A session of a backup, as it was in its store. */
export interface BackedUp {
  sessionId: string;
  /** Patches that the store had counted. */
  version: number | null;
  /** ISO 8601: when the session was last written. */
  lastWrite: string | null;
  records: number;
  bytes: number;
  /** By type. */
  sha256: Record<string, string>;
}

export interface Manifest {
  format: string;
  version: number;
  /** ISO 8601. */
  madeAt: string;
  /** The store, without passwords. */
  source: string;
  sealed: boolean;
  sessions: BackedUp[];
}

export async function writeManifest(
  folder: string,
  content: Omit<Manifest, 'format' | 'version'>,
): Promise<void> {
  const file = await open(join(folder, MANIFEST), 'wx', 0o600);
  try {
    await file.writeFile(
      `${JSON.stringify({ format: FORMAT, version: VERSION, ...content }, undefined, 1)}\n`,
    );
    await file.sync();
  } finally {
    await file.close();
  }
}

/** @throws ConfigError, CorruptRecordError when there is no manifest, or none that this release reads */
export function readManifest(folder: string): Manifest {
  const file = join(folder, MANIFEST);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigError(
      'backup',
      `${file} cannot be read (${code}): that is no backup, or one that was broken off`,
      {
        cause,
      },
    );
  }
  let found: Partial<Manifest>;
  try {
    found = JSON.parse(text) as Partial<Manifest>;
  } catch {
    throw damaged(file, 'it is not valid JSON');
  }
  if (found.format !== FORMAT || found.version !== VERSION) {
    throw new ConfigError('backup', `${file} is not of a backup of version ${VERSION}`);
  }
  if (!Array.isArray(found.sessions)) {
    throw damaged(file, 'it lists no sessions');
  }
  return found as Manifest;
}

/** @throws CorruptRecordError when a session of the backup is not what was put into it */
export function checkAgainst(folder: string, { sessionId, sha256 }: BackedUp, digests: Digests): void {
  const written = new Map(
    Object.entries(sha256).map(([type, digest]) => [type, { records: 0, bytes: 0, sha256: digest }]),
  );
  const differing = differences(digests, written);
  if (differing.length > 0) {
    throw new CorruptRecordError(
      `the backup of ${JSON.stringify(sessionId)} is not what its manifest says: ${differing.join(', ')}`,
      sessionId,
      undefined,
      { layer: 'cli', sessionId, details: { folder } },
    );
  }
}

const damaged = (file: string, reason: string): CorruptRecordError =>
  new CorruptRecordError(reason, file, undefined, { layer: 'cli', details: { file } });
