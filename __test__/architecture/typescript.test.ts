/** Which file may import which: the rules are in `.dependency-cruiser.cjs`, each with its reason. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';

const ROOT = resolve(__dirname, '../..');
const CONFIG = join(ROOT, '.dependency-cruiser.cjs');
const TOOL = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
const FOLDERS = ['lib', 'benches', 'scripts', '__test__', 'examples'];

interface Cruise {
  modules: { source: string }[];
  summary: { violations: { rule: { name: string }; from: string; to: string }[] };
}

function cruise(folder: string, folders: readonly string[]): Cruise {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [TOOL, '--config', CONFIG, '--output-type', 'json', ...folders],
    { cwd: folder, encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as Cruise;
}

test('no file imports what it must not', () => {
  const { modules, summary } = cruise(ROOT, FOLDERS);
  for (const folder of FOLDERS) {
    assert.ok(
      modules.some(({ source }) => source.startsWith(`${folder}/`)),
      `no file of ${folder} was looked at`,
    );
  }
  assert.deepEqual(
    summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} imports ${to}`),
    [],
  );
});

/** By the rule that it breaks: a file and what it imports. */
const WRONG: Record<string, [file: string, imported: string]> = {
  'no circles': ['benches/one.ts', './other.js'],
  unresolved: ['benches/lost.ts', './nowhere.js'],
  'lib: a module for each file': ['lib/anything.ts', './errors.js'],
  'lib: no packages': ['lib/options/package.ts', 'left-pad'],
  'lib: errors': ['lib/errors.ts', './codec/index.js'],
  'lib: codec': ['lib/codec/index.ts', '../program.js'],
  'lib: program': ['lib/program.ts', './baileys/load.js'],
  'lib: baileys': ['lib/baileys/load.ts', '../options/check.js'],
  'lib: native': ['lib/native/thread.ts', '../options/check.js'],
  'lib: dialects': ['lib/compat/dialects/names.ts', '../../options/check.js'],
  'lib: options': ['lib/options/check.ts', '../native/thread.js'],
  'lib: compat': ['lib/compat/services.ts', '../store/session.js'],
  'lib: store': ['lib/store/session.ts', '../folder/life-cycle.js'],
  'lib: import': ['lib/import/survey.ts', '../folder/life-cycle.js'],
  'lib: folder': ['lib/folder/life-cycle.ts', '../hooks/redis.js'],
  'lib: hooks': ['lib/hooks/redis.ts', '../index.js'],
  'lib: entry points': ['lib/index.ts', './folder/life-cycle.js'],
  'lib: cli': ['lib/cli/run.ts', '../hooks/redis.js'],
  'lib: foreign': ['lib/native/foreign/redis.ts', '../../store/session.js'],
  'lib: conformance': ['lib/conformance/case.ts', '../store/session.js'],
  scripts: ['scripts/run.mjs', '../lib/errors.js'],
  benches: ['benches/run.ts', '../__test__/support/say.mjs'],
};

test('every rule finds a file that breaks it', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vault-architecture-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const write = (file: string, text: string): void => {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text, { flag: 'a' });
  };
  write('tsconfig.json', '{}');
  write('node_modules/left-pad/package.json', '{"name":"left-pad","main":"index.js"}');
  write('node_modules/left-pad/index.js', '');
  write('benches/other.ts', "import './one.js';\n");
  write('__test__/support/say.mjs', '');
  for (const [file, imported] of Object.values(WRONG)) {
    write(file, `import '${imported}';\n`);
  }
  const { violations } = cruise(folder, ['lib', 'benches', 'scripts', '__test__']).summary;
  const { forbidden } = createRequire(__filename)(CONFIG) as { forbidden: { name: string }[] };
  for (const { name } of forbidden) {
    const [file] = WRONG[name] ?? [];
    assert.ok(file !== undefined, `give an example of a file that breaks "${name}"`);
    assert.ok(
      violations.some(({ rule, from }) => rule.name === name && from === file),
      `"${name}" has not found ${file}`,
    );
  }
});
