import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve, sep } from 'node:path';

/** An installed package as a folder sees it. */
export interface Installed {
  readonly name: string;
  /** Where it really is; two links to one copy are one copy. */
  readonly folder: string;
  readonly version: string;
}

/**
 * Folders that the running program looks for packages from: that of its main file, then the working directory.
 * A bundle, or a package linked in from elsewhere, finds there what is not beside its own files.
 */
export function programFolders(): string[] {
  const folders = [process.cwd()];
  const main = process.argv[1];
  if (main !== undefined) {
    const folder = dirname(realPath(resolve(main)));
    // A tool (`next start`, `jest`) is not the program, wherever it is installed.
    if (folder.split(sep).includes('node_modules')) {
      folders.push(folder);
    } else {
      folders.unshift(folder);
    }
  }
  return [...new Set(folders)];
}

/**
 * Those of `names` that are installed in the nearest `node_modules` above `folder` that has any; where it has several
 * and the `package.json` beside it asks for one of them, that one alone.
 */
export function nearestInstalled(folder: string, names: readonly string[]): Installed[] {
  const places = createRequire(join(folder, 'noop.js')).resolve.paths(names[0] as string) ?? [];
  for (const place of places) {
    const found = names.flatMap((name) => installed(join(place, name), name));
    if (found.length > 0) {
      const wanted = dependenciesOf(dirname(place));
      const chosen = found.filter(({ name }) => wanted.has(name));
      return chosen.length === 1 ? chosen : found;
    }
  }
  return [];
}

function installed(folder: string, name: string): Installed[] {
  const manifest = readManifest(folder);
  return manifest === undefined
    ? []
    : [{ name, folder: realPath(folder), version: String(manifest.version ?? 'unknown') }];
}

/** Names of what the `package.json` of a folder asks for. */
function dependenciesOf(folder: string): ReadonlySet<string> {
  const { dependencies, devDependencies, optionalDependencies } = readManifest(folder) ?? {};
  return new Set(Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies }));
}

interface Manifest {
  name?: unknown;
  version?: unknown;
  dependencies?: object;
  devDependencies?: object;
  optionalDependencies?: object;
}

/** The `package.json` of a folder, if there is one that can be read. */
export function readManifest(folder: string): Manifest | undefined {
  const path = join(folder, 'package.json');
  try {
    return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Manifest) : undefined;
  } catch {
    return undefined;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    // `node app` may mean app.js; the folder is the same.
    return path;
  }
}
