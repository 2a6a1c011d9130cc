// Builds lib/ into dist/: CommonJS by tsc, so that there is one instance of every class, and for each entry point of
// package.json a small ES module that re-exports it by name.
//
//     node scripts/build-ts.mjs [folder, instead of dist/]
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const require = createRequire(import.meta.url);

const out = resolve(process.argv[2] ?? join(root, 'dist'));
const inOut = (path) => join(out, relative('dist', path));

rmSync(out, { recursive: true, force: true });
const tsc = spawnSync(
  process.execPath,
  [require.resolve('typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', out],
  { cwd: root, stdio: 'inherit' },
);
if (tsc.status !== 0) {
  process.exit(tsc.status ?? 1);
}

// tsc reads declarations and copies none; what it wrote refers to these.
copyFileSync(join(root, 'lib/native/core.d.ts'), join(out, 'native/core.d.ts'));

const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const [subpath, target] of Object.entries(exports)) {
  if (typeof target === 'string') {
    continue;
  }
  const cjs = inOut(target.require.default);
  if (!existsSync(cjs)) {
    console.error(`${subpath} is exported, but ${target.require.default} has no source in lib/`);
    process.exitCode = 1;
    continue;
  }
  const from = `./${basename(cjs)}`;
  // Assigned one by one: Node's own detection of a CommonJS module's names misses some ways of exporting.
  const names = Object.keys(require(cjs)).filter((name) => name !== '__esModule' && name !== 'default');
  const lines = names.map((name) => `export const ${name} = module.${name};`);
  writeFileSync(inOut(target.import.default), [`import module from '${from}';`, ...lines, ''].join('\n'));
  writeFileSync(inOut(target.import.types), `export * from '${from}';\n`);
}
