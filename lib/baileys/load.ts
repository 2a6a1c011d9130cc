// biome-ignore-all lint/suspicious/noTsIgnore: which name is missing depends on the user, so no error is sure
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '../errors.js';
import { type Installed, nearestInstalled, programFolders, readManifest } from '../program.js';
import { appStateSyncKeyReader } from './app-state-sync-key.js';
import type { BaileysModule } from './types.js';

const NAMES = ['baileys', '@whiskeysockets/baileys'] as const;
type Name = (typeof NAMES)[number];

/** How modules are loaded, and what the search starts from. */
export interface Search {
  /** Loads what is installed beside this package, or was bundled with it. */
  beside(name: Name): Promise<unknown>;
  /** Loads a file by its URL. */
  file(url: string): Promise<unknown>;
  /** Folders that the program looks for packages from, the nearest first. */
  readonly folders: readonly string[];
  /** This code is part of a bundle. */
  readonly bundled: boolean;
  warn(message: string): void;
}

const silent = () => {};
let loaded: Promise<BaileysModule> | undefined;

/**
 * The user's Baileys: `given` if there is one, else the installed package under either of its names. `warn` hears of
 * it once when there is more than one to choose from.
 *
 * @throws ConfigError when none is installed, one fails to load, or `given` is not Baileys
 */
export async function loadBaileys(
  given?: unknown,
  warn: (message: string) => void = silent,
): Promise<BaileysModule> {
  if (given !== undefined) {
    const module = asBaileys(given);
    if (module === undefined) {
      throw new ConfigError('baileys', 'expected the Baileys module (with initAuthCreds and proto)');
    }
    return module;
  }
  loaded ??= findBaileys(search(warn)).then((module) => asBaileys(module) as BaileysModule);
  try {
    return await loaded;
  } catch (error) {
    // It may be installed by the time of the next call.
    loaded = undefined;
    throw error;
  }
}

/** How a running program searches. */
export function search(warn: (message: string) => void = silent): Search {
  return {
    beside: importBeside,
    // What the path is shows when the program runs: a bundler must leave this to Node.
    file: (url) => import(/* webpackIgnore: true */ /* @vite-ignore */ /* turbopackIgnore: true */ url),
    folders: programFolders(),
    bundled:
      typeof __dirname !== 'string' || readManifest(join(__dirname, '../..'))?.name !== 'baileys-vault',
    warn,
  };
}

/**
 * Literal names, each in a `try` of its own: bundlers and tracers follow them, and let the one go that is not there.
 */
async function importBeside(name: Name): Promise<unknown> {
  if (name === 'baileys') {
    try {
      // @ts-ignore
      return await import('baileys');
    } catch (error) {
      throw asError(error);
    }
  }
  try {
    // @ts-ignore
    return await import('@whiskeysockets/baileys');
  } catch (error) {
    throw asError(error);
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

/**
 * The module of the Baileys that is nearest to the program, else the one beside this package. In a bundle what was
 * bundled goes first: it is the program's own.
 */
export async function findBaileys({ beside, file, folders, bundled, warn }: Search): Promise<object> {
  const nearest = async (): Promise<object | undefined> => {
    const chosen = choose(folders, warn);
    return chosen && (await loadIfPresent(chosen.name, () => file(entryOf(chosen))));
  };
  const own = async (): Promise<object | undefined> => {
    for (const name of NAMES) {
      const module = await loadIfPresent(name, () => beside(name));
      if (module !== undefined) {
        return module;
      }
    }
    return undefined;
  };
  const order = bundled ? [own, nearest] : [nearest, own];
  for (const find of order) {
    const module = await find();
    if (module !== undefined) {
      return module;
    }
  }
  throw new ConfigError(
    'baileys',
    'Baileys is not installed, or it was bundled and cannot be found by its name: run `npm install baileys` (or ' +
      '`@whiskeysockets/baileys`), keep it external in the bundle (docs/guides/bundlers.md), or pass the module as ' +
      'the option `baileys`',
  );
}

function choose(folders: readonly string[], warn: Search['warn']): Installed | undefined {
  const all = folders.flatMap((folder) => nearestInstalled(folder, NAMES));
  const [chosen, ...others] = all;
  // The same release twice does the same; where it is does not matter.
  const other = others.find(
    ({ folder, version }) => folder !== chosen?.folder && version !== chosen?.version,
  );
  if (chosen !== undefined && other !== undefined) {
    warn(
      `two versions of Baileys are installed: taking ${describe(chosen)}, not ${describe(other)}. ` +
        'If that is the wrong one, pass the module that makes the socket as the option `baileys`.',
    );
  }
  return chosen;
}

const describe = ({ name, version, folder }: Installed): string => `${name} ${version} (${folder})`;

/** By its folder, so that a package without an entry for `require` is found too. */
function entryOf({ folder }: Installed): string {
  const require = createRequire(join(folder, 'noop.js'));
  return pathToFileURL(require.resolve(folder)).href;
}

async function loadIfPresent(name: string, load: () => Promise<unknown>): Promise<object | undefined> {
  let module: unknown;
  try {
    module = await load();
  } catch (cause) {
    if (isMissing(cause, name)) {
      return undefined;
    }
    throw new ConfigError('baileys', `the installed ${name} cannot be loaded`, { cause });
  }
  if (asBaileys(module) === undefined) {
    throw new ConfigError(
      'baileys',
      `the installed ${name} has no initAuthCreds and proto: version 6.7 or newer is needed`,
    );
  }
  return module as object;
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

/** Named exports of a CommonJS Baileys may be visible on `default` only. */
function asBaileys(module: unknown): BaileysModule | undefined {
  if (typeof module !== 'object' || module === null) {
    return undefined;
  }
  const { default: inner } = module as { default?: unknown };
  const pick = (name: string): unknown =>
    (module as Record<string, unknown>)[name] ?? (inner as Record<string, unknown> | undefined)?.[name];
  const initAuthCreds = pick('initAuthCreds');
  const fromObject = appStateSyncKeyReader(pick('proto'));
  if (typeof initAuthCreds !== 'function' || fromObject === undefined) {
    return undefined;
  }
  return {
    initAuthCreds: initAuthCreds as BaileysModule['initAuthCreds'],
    proto: { Message: { AppStateSyncKeyData: { fromObject } } },
  };
}
