import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BaileysModule } from './baileys-types.js';
import { ConfigError } from './errors.js';

const NAMES = ['baileys', '@whiskeysockets/baileys'];

let loaded: Promise<BaileysModule> | undefined;

/**
 * The user's Baileys: `given` if there is one, else the installed package under either of its names.
 *
 * @throws ConfigError when none is installed, one fails to load, or `given` is not Baileys
 */
export async function loadBaileys(given?: unknown): Promise<BaileysModule> {
  if (given !== undefined) {
    const module = asBaileys(given);
    if (module === undefined) {
      throw new ConfigError('baileys', 'expected the Baileys module (with initAuthCreds and proto)');
    }
    return module;
  }
  loaded ??= findBaileys(process.cwd());
  try {
    return await loaded;
  } catch (error) {
    // It may be installed by the time of the next call.
    loaded = undefined;
    throw error;
  }
}

/**
 * Looks beside this package first, then from `directory`, where a program finds its Baileys although this package is
 * linked in from elsewhere.
 */
export async function findBaileys(
  directory: string,
  load: (specifier: string) => Promise<unknown> = (specifier) => import(specifier),
): Promise<BaileysModule> {
  for (const name of NAMES) {
    const module = await loadIfPresent(name, name, load);
    if (module !== undefined) {
      return module;
    }
  }
  const require = createRequire(join(directory, 'noop.js'));
  for (const name of NAMES) {
    let path: string;
    try {
      path = require.resolve(name);
    } catch {
      continue;
    }
    const module = await loadIfPresent(name, pathToFileURL(path).href, load);
    if (module !== undefined) {
      return module;
    }
  }
  throw new ConfigError(
    'baileys',
    'Baileys is not installed: run `npm install baileys` (or `@whiskeysockets/baileys`), or pass the module as the option `baileys`',
  );
}

async function loadIfPresent(
  name: string,
  specifier: string,
  load: (specifier: string) => Promise<unknown>,
): Promise<BaileysModule | undefined> {
  let module: unknown;
  try {
    module = await load(specifier);
  } catch (cause) {
    if (isMissing(cause, name)) {
      return undefined;
    }
    throw new ConfigError('baileys', `the installed ${name} cannot be loaded`, { cause });
  }
  const baileys = asBaileys(module);
  if (baileys === undefined) {
    throw new ConfigError(
      'baileys',
      `the installed ${name} has no initAuthCreds and proto: version 6.7 or newer is needed`,
    );
  }
  return baileys;
}

/** True when the package itself is what was not found, not something that it imports. */
function isMissing(error: unknown, name: string): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return (
    (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') &&
    typeof message === 'string' &&
    (message.includes(`'${name}'`) || message.includes(`"${name}"`))
  );
}

/** Named exports of a CommonJS Baileys (6.x) may be visible on `default` only. */
function asBaileys(module: unknown): BaileysModule | undefined {
  if (typeof module !== 'object' || module === null) {
    return undefined;
  }
  const { default: inner } = module as { default?: unknown };
  const pick = (name: string): unknown =>
    (module as Record<string, unknown>)[name] ?? (inner as Record<string, unknown> | undefined)?.[name];
  const initAuthCreds = pick('initAuthCreds');
  const proto = pick('proto') as Partial<BaileysModule['proto']> | undefined;
  if (
    typeof initAuthCreds !== 'function' ||
    typeof proto?.Message?.AppStateSyncKeyData?.fromObject !== 'function'
  ) {
    return undefined;
  }
  return { initAuthCreds, proto } as BaileysModule;
}
