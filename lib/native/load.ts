import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { StorageError } from '../errors.js';
import { programFolders } from '../program.js';
import type { NativeCoreClass } from './abi.js';
import { platformName } from './platform.js';

/** Names the file of the native core, instead of all the places where it is looked for. */
const VARIABLE = 'BAILEYS_VAULT_NATIVE';

/**
 * The native core of this platform.
 *
 * No bundler must meet a `.node` file here, so nothing below is a `require` of a literal name: the file is found when
 * the program runs. Its usual places are still written as paths from `__dirname`, which is what tracers (Next.js,
 * Vercel) follow.
 *
 * @throws StorageError with code NATIVE_MISSING when there is no binary for it, or it cannot be loaded
 */
export function loadNative(): NativeCoreClass {
  const given = process.env[VARIABLE];
  const path = given === undefined || given === '' ? findAddon(platformName()) : resolve(given);
  if (path === undefined) {
    throw missingBinary();
  }
  try {
    return (createRequire(path)(path) as { Core: NativeCoreClass }).Core;
  } catch (cause) {
    throw unusableBinary(path, cause);
  }
}

/** Where the addon of a platform is. */
function findAddon(platform: string): string | undefined {
  const file = `baileys-vault.${platform}.node`;
  const beside = placesBeside(platform).find((path) => existsSync(path));
  if (beside !== undefined) {
    return beside;
  }
  // Nested in another package's folder, under Yarn's Plug'n'Play, or seen from a bundle only by way of the program.
  for (const folder of [...here(), ...programFolders()]) {
    const require = createRequire(join(folder, 'noop.js'));
    const path =
      resolved(require, `baileys-vault-${platform}`) ??
      ofPackage(resolved(require, 'baileys-vault/package.json'), file);
    if (path !== undefined) {
      return path;
    }
  }
  return undefined;
}

/** A bundler may have made an ES module of this file, where there is no `__dirname`. */
const here = (): string[] => (typeof __dirname === 'string' ? [__dirname] : []);

function placesBeside(platform: string): string[] {
  if (typeof __dirname !== 'string') {
    return [];
  }
  // Each whole and in place: a tracer does not look behind a variable.
  return [
    // Built from source, or packed together with this package.
    join(__dirname, '../..', `baileys-vault.${platform}.node`),
    // npm and pnpm put the package with the binary beside this one.
    join(__dirname, '../../..', `baileys-vault-${platform}`, `baileys-vault.${platform}.node`),
    // Copied to where a bundle is.
    join(__dirname, `baileys-vault.${platform}.node`),
  ];
}

function resolved(require: NodeJS.Require, request: string): string | undefined {
  try {
    return require.resolve(request);
  } catch {
    return undefined;
  }
}

function ofPackage(packageJson: string | undefined, file: string): string | undefined {
  const path = packageJson && join(dirname(packageJson), file);
  return path !== undefined && existsSync(path) ? path : undefined;
}

/** Says what is missing and what to do. */
export function missingBinary(): StorageError {
  const platform = platformName();
  return new StorageError(
    'NATIVE_MISSING',
    `baileys-vault finds no native binary for ${platform}: it is not installed, or this program was bundled without ` +
      `it. If the platform is supported, install the package baileys-vault-${platform} (it comes by itself, unless ` +
      'with `--omit=optional` or on another platform). In a bundle, keep baileys-vault external or copy ' +
      `baileys-vault.${platform}.node beside the bundle (docs/guides/bundlers.md), or set ${VARIABLE} to its path. ` +
      'From source: `npm run build:native`.',
    false,
    { layer: 'native', details: { platform: process.platform, arch: process.arch } },
  );
}

function unusableBinary(path: string, cause: unknown): StorageError {
  const { platform, arch } = process;
  return new StorageError(
    'NATIVE_MISSING',
    `baileys-vault's native binary ${path} cannot be loaded on ${platform}-${arch}: ${(cause as Error).message}`,
    false,
    { layer: 'native', cause, details: { platform, arch, path } },
  );
}
