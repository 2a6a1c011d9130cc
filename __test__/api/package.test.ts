import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';

const root = join(__dirname, '..', '..');
const tsc = require.resolve('typescript/bin/tsc');
const NAMES = ['baileys', '@whiskeysockets/baileys'] as const;

let work: string;
let built: string;

function run(args: readonly string[], cwd: string): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, args, { cwd, encoding: 'utf8' });
}

/** A project with the built package, and Baileys installed under one name alone. */
function project(name: string, baileys: (typeof NAMES)[number]): string {
  const directory = join(work, name);
  const modules = join(directory, 'node_modules');
  mkdirSync(join(modules, 'baileys-vault'), { recursive: true });
  cpSync(built, join(modules, 'baileys-vault', 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(modules, 'baileys-vault', 'package.json'));
  mkdirSync(dirname(join(modules, baileys)), { recursive: true });
  symlinkSync(join(root, 'node_modules', 'baileys'), join(modules, baileys));
  symlinkSync(join(root, 'node_modules', '@types'), join(modules, '@types'));
  return directory;
}

before(() => {
  work = mkdtempSync(join(tmpdir(), 'vault-package-'));
  built = join(work, 'dist');
  const { status, stderr } = run([join(root, 'scripts', 'build-ts.mjs'), built], root);
  assert.equal(status, 0, stderr);
});
after(() => rmSync(work, { recursive: true, force: true }));

describe('the built package', () => {
  const NAMES_OF_INDEX = [
    'CodecService',
    'CompressionError',
    'ConfigError',
    'CorruptRecordError',
    'CryptoService',
    'DEFAULT_OBSERVABILITY_CONFIG',
    'DEFAULT_RESILIENCE_CONFIG',
    'DEFAULT_SECURITY_CONFIG',
    'DEFAULT_TTL_CONFIG',
    'DEVELOPMENT',
    'EmbeddedAuthStore',
    'EncryptionError',
    'FencedError',
    'ForeignFilesError',
    'HybridAuthStore',
    'MongoAuthStore',
    'PRESETS',
    'PRODUCTION',
    'PostgresAuthStore',
    'RedisAuthStore',
    'SessionBusyError',
    'StorageError',
    'TESTING',
    'TimeoutError',
    'ValueError',
    'VaultStore',
    'VersionMismatchError',
    'assertBufferTypes',
    'createCodecService',
    'createCryptoService',
    'createHybridConfigFromPreset',
    'createHybridStore',
    'createMongoStore',
    'createPostgresStore',
    'createRedisStore',
    'getMetricsText',
    'getPreset',
    'isValidAuthCreds',
    'isValidBuffer',
    'isValidKeyPair',
    'metricsRegistry',
    'useHybridAuthState',
    'useMongoAuthState',
    'useMultiFileAuthState',
    'usePostgresAuthState',
    'useRedisAuthState',
  ];

  it('exports the same names to ES modules and CommonJS, and one class for both', () => {
    const directory = project('consumers', 'baileys');
    writeFileSync(
      join(directory, 'both.mjs'),
      `import { createRequire } from 'node:module';
       const require = createRequire(import.meta.url);
       const { exports } = require('baileys-vault/package.json');
       const names = {};
       for (const path of Object.keys(exports).filter((path) => path !== './package.json')) {
         const name = 'baileys-vault' + path.slice(1);
         const esm = await import(name);
         const cjs = require(name);
         names[path] = Object.keys(esm).sort();
         for (const key of Object.keys(cjs)) {
           if (esm[key] !== cjs[key]) throw new Error(name + ' ' + key + ' differs');
         }
         if (Object.keys(cjs).length !== names[path].length) throw new Error(name + ' differs');
       }
       console.log(JSON.stringify(names));`,
    );
    const { stdout, stderr, status } = run(['both.mjs'], directory);
    assert.equal(status, 0, stderr);
    const names = JSON.parse(stdout) as Record<string, string[]>;
    assert.deepEqual(names['.'], NAMES_OF_INDEX);
    assert.deepEqual(names['./redis'], ['RedisAuthStore', 'createRedisStore', 'useRedisAuthState']);
    assert.deepEqual(names['./mongodb'], ['MongoAuthStore', 'createMongoStore', 'useMongoAuthState']);
    assert.deepEqual(names['./postgres'], [
      'PostgresAuthStore',
      'createPostgresStore',
      'usePostgresAuthState',
    ]);
    assert.ok(names['./hybrid']?.includes('useHybridAuthState'));
    assert.deepEqual(names['./crypto'], ['CryptoService', 'createCryptoService']);
    assert.deepEqual(names['./metrics'], ['getMetricsText', 'metricsRegistry']);
  });

  it('does not load the native core, or Baileys, before they are needed', () => {
    const directory = project('lazy', 'baileys');
    writeFileSync(
      join(directory, 'lazy.cjs'),
      `const { useMultiFileAuthState } = require('baileys-vault');
       const files = Object.keys(require.cache);
       if (files.some((file) => /\\.node$|node_modules[\\\\/](@whiskeysockets[\\\\/])?baileys[\\\\/]/.test(file))) throw new Error(files.join());
       useMultiFileAuthState('auth').catch((error) => console.log(error.code));`,
    );
    const { stdout, stderr } = run(['lazy.cjs'], directory);
    assert.equal(stdout, 'NATIVE_MISSING\n', stderr);
  });
});

describe('programs', () => {
  const programs = readdirSync(join(__dirname, 'programs'));

  it('are there', () => {
    assert.equal(programs.length, 4);
  });

  const settings = {
    NodeNext: { module: 'NodeNext' },
    bundler: { module: 'ESNext', moduleResolution: 'bundler' },
    // Knows no subpaths, so only the program that needs none can be compiled.
    node10: { module: 'CommonJS', moduleResolution: 'node10', programs: ['multi-file.ts.txt'] },
  };
  for (const baileys of NAMES) {
    for (const [name, { programs: only = programs, ...options }] of Object.entries<{
      module: string;
      moduleResolution?: string;
      programs?: string[];
    }>(settings)) {
      it(`compile with ${baileys} alone, under ${name}`, () => {
        const directory = project(`types-${baileys.replace('/', '-')}-${name}`, baileys);
        writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
        const compilerOptions = {
          ...options,
          strict: true,
          noEmit: true,
          target: 'ES2022',
          esModuleInterop: true,
          skipLibCheck: false,
          types: ['node'],
        };
        writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
        for (const program of only) {
          const source = readFileSync(join(__dirname, 'programs', program), 'utf8');
          writeFileSync(join(directory, program.replace(/\.txt$/, '')), source.replace('BAILEYS', baileys));
        }
        const { stdout } = run([tsc, '-p', '.', '--listFiles'], directory);
        assert.match(stdout, /baileys-vault\/dist\/hooks\/auth-state\.d\.[a-z]*ts/);
        // Baileys' own declarations may not check; what is ours must.
        const ours = stdout
          .split('\n')
          .filter((line) => /: error TS/.test(line) && !/node_modules\/(?!baileys-vault)/.test(line));
        assert.deepEqual(ours, []);
      });
    }
  }
});
