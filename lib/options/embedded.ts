import { resolve } from 'node:path';
import { ConfigError } from '../errors.js';
import { fields, isEmpty, oneOf, optional, text } from './check.js';
import { DEFAULT_FOLDER } from './defaults.js';
import { unset } from './section.js';
import type { SessionSettings } from './servers.js';
import {
  resolveDurability,
  resolveFencingToken,
  resolveSessionId,
  resolveStore,
  SECTIONS,
  SERVER,
  SHARED,
  type StoreSettings,
} from './shared.js';

/** The one session of a folder that holds one. */
export const FOLDER_SESSION = 'default';

/** Settings of a folder that holds one session. */
export interface FolderSettings extends SessionSettings {
  /** Absolute: the program may change its directory later. */
  folder: string;
  onForeignFiles: 'import' | 'ignore' | undefined;
}

/** @throws ConfigError naming the field */
export function resolveFolder(given: unknown, options: unknown): FolderSettings {
  if (!isEmpty((options as { sessionId?: unknown } | undefined)?.sessionId)) {
    throw new ConfigError(
      'sessionId',
      'a folder of useMultiFileAuthState holds one session: for several in one folder use useHybridAuthState',
    );
  }
  const own = fields('', options, [...SHARED, 'durability', 'onForeignFiles'], SECTIONS);
  const folder = resolve(text('folder', given, 'the path of a folder'));
  return {
    ...embeddedStore(folder, own),
    folder,
    onForeignFiles: optional(own.onForeignFiles, undefined, (value) =>
      oneOf('onForeignFiles', value, ['import', 'ignore'] as const),
    ),
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
  const own = fields('', options, known, SECTIONS);
  if (Object.hasOwn(own, 'hybrid')) {
    throw unset('hybrid', 'an object with redisUrl and mongoUrl');
  }
  const server = SECTIONS.find((name) => name !== 'embedded' && own[name] !== undefined);
  if (server !== undefined && own.embedded === undefined) {
    throw new ConfigError(
      'hybrid',
      `is missing beside ${server}: without it the session would be kept in a folder; to have that, give embedded: { path }`,
    );
  }
  for (const name of ['ttl', 'enableTls']) {
    if (own[name] !== undefined) {
      throw new ConfigError(name, 'needs servers (the option hybrid): the embedded store has no such thing');
    }
  }
  if (Object.hasOwn(own, 'embedded') && isEmpty(own.embedded)) {
    throw unset('embedded', 'an object with the path of a folder');
  }
  const embedded = fields('embedded', own.embedded, ['path']);
  if (Object.hasOwn(embedded, 'path') && isEmpty(embedded.path)) {
    throw unset('embedded.path', 'the path of a folder');
  }
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
