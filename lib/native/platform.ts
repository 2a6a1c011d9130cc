import { readFileSync } from 'node:fs';

/** This platform as the names of the packages with binaries have it: `linux-x64-musl`, `darwin-arm64`. */
export function platformName(): string {
  const { platform, arch } = process;
  switch (platform) {
    case 'linux':
      return `linux-${arch}-${usesMusl() ? 'musl' : 'gnu'}`;
    case 'win32':
      return `win32-${arch}-msvc`;
    default:
      return `${platform}-${arch}`;
  }
}

function usesMusl(): boolean {
  try {
    return readFileSync('/usr/bin/ldd', 'latin1').includes('musl');
  } catch {
    // Small images have no ldd; Node's own report takes longer, and knows.
  }
  const report = process.report as typeof process.report & { excludeNetwork?: boolean };
  // Else it looks up the names of all peers.
  report.excludeNetwork = true;
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return header?.glibcVersionRuntime === undefined;
}
