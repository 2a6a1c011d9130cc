import { resolve } from 'node:path';
import { ConfigError } from '../errors.js';
import { fields, optional, text } from './check.js';
import { DEFAULT_FOLDER } from './defaults.js';
import type { SessionSettings } from './servers.js';
import {
  resolveDurability,
  resolveFencingToken,
  resolveSessionId,
  resolveStore,
  SERVER,
  SHARED,
  type StoreSettings,
} from './shared.js';

/** The one session of a folder that holds one. */
export const FOLDER_SESSION = 'default';

/** @throws ConfigError naming the field */
export function resolveFolder(folder: unknown, options: unknown): SessionSettings {
  const own = fields('', options, [...SHARED, 'durability']);
  return {
    ...embeddedStore(text('folder', folder, 'the path of a folder'), own),
    sessionId: FOLDER_SESSION,
    fencingToken: undefined,
  };
}

/**
 * The options of `useHybridAuthState` without servers: all sessions in one embedded store.
 *
 * @throws ConfigError naming the field
 */
export function resolveServerless(options: unknown): SessionSettings {
  const known = ['hybrid', 'sessionId', 'fencingToken', 'embedded', 'durability', ...SERVER];
  const own = fields('', options, known);
  for (const name of ['ttl', 'enableTls']) {
    if (own[name] !== undefined) {
      throw new ConfigError(name, 'needs servers (the option hybrid): the embedded store has no such thing');
    }
  }
  const embedded = fields('embedded', own.embedded, ['path']);
  return {
    ...embeddedStore(
      optional(embedded.path, DEFAULT_FOLDER, (value) => text('embedded.path', value)),
      own,
    ),
    sessionId: resolveSessionId(own.sessionId),
    fencingToken: resolveFencingToken(own.fencingToken),
  };
}

function embeddedStore(folder: string, own: Record<string, unknown>): StoreSettings {
  const durability = resolveDurability(own.durability);
  return resolveStore({ backend: 'embedded', embedded: { folder: resolve(folder), durability } }, [
    { path: '', options: own },
  ]);
}
