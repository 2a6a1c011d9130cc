// Builds lib/ into dist/: CommonJS by tsc, so that there is one instance of every class, and for each entry point of
// package.json a small ES module that re-exports it by name.
//
//     node scripts/build-ts.mjs [folder, instead of dist/]
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);

const TSC = [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.build.json'];

/** Builds `out` anew; returns whether that worked. */
function build(out) {
  rmSync(out, { recursive: true, force: true });
  const { status } = spawnSync(process.execPath, [...TSC, '--outDir', out], { cwd: root, stdio: 'inherit' });
  return status === 0 && complete(out);
}

/** Keeps `dist` up to date until the process ends, and calls `onBuilt` after each build without errors. */
export function watch(onBuilt) {
  const tsc = spawn(process.execPath, [...TSC, '--watch', '--preserveWatchOutput'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  tsc.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write(text);
    if (text.includes('Found 0 errors') && complete(join(root, 'dist'))) onBuilt();
  });
  tsc.on('exit', (code) => process.exit(code ?? 1));
}

/** Adds to what tsc has made in `out`; returns whether every entry point is there. */
function complete(out) {
  const inOut = (path) => join(out, relative('dist', path));
  // tsc reads declarations and copies none; what it wrote refers to these.
  copyFileSync(join(root, 'lib/native/core.d.ts'), join(out, 'native/core.d.ts'));
  // What was loaded for an earlier build has the names of that one.
  for (const file of Object.keys(require.cache)) {
    if (file.startsWith(out)) delete require.cache[file];
  }
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  let isComplete = true;
  for (const [subpath, target] of Object.entries(exports)) {
    if (typeof target === 'string') {
      continue;
    }
    const cjs = inOut(target.require.default);
    if (!existsSync(cjs)) {
      console.error(`${subpath} is exported, but ${target.require.default} has no source in lib/`);
      isComplete = false;
      continue;
    }
    const from = `./${basename(cjs)}`;
    // Assigned one by one: Node's own detection of a CommonJS module's names misses some ways of exporting.
    const names = Object.keys(require(cjs)).filter((name) => name !== '__esModule' && name !== 'default');
    const lines = names.map((name) => `export const ${name} = module.${name};`);
    writeFileSync(inOut(target.import.default), [`import module from '${from}';`, ...lines, ''].join('\n'));
    writeFileSync(inOut(target.import.types), `export * from '${from}';\n`);
  }
  return isComplete;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exit(build(resolve(process.argv[2] ?? join(root, 'dist'))) ? 0 : 1);
}
