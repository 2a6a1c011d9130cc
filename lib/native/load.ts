import { StorageError } from '../errors.js';
import type { NativeCoreClass } from './abi.js';

/**
 * The native core of this platform.
 *
 * @throws StorageError with code NATIVE_MISSING when there is no binary for it
 */
export function loadNative(): NativeCoreClass {
  try {
    return (require('../../index.js') as { Core: NativeCoreClass }).Core;
  } catch (cause) {
    throw missingBinary(cause);
  }
}

/** Says what is missing and what to do, in place of the loader's list of paths it tried. */
export function missingBinary(cause: unknown): StorageError {
  const { platform, arch } = process;
  return new StorageError(
    'NATIVE_MISSING',
    `baileys-vault has no native binary for ${platform}-${arch} here. If the platform is supported, install again ` +
      'with optional dependencies (not `--omit=optional`), on the platform where it will run; otherwise build it ' +
      'from source with `npm run build:native`.',
    false,
    { layer: 'native', cause, details: { platform, arch } },
  );
}
