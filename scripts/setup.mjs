/**
 * Brings a fresh clone, or one whose sources have changed, to where `npm start`, `npm test` and `npm run bench` can
 * run: dependencies, the native addon, the TypeScript build. Does nothing, quickly and silently, when all is up to
 * date. Runs before `node_modules` exists, so it uses Node alone.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const MIN_NODE = 20;
const ON_WINDOWS = process.platform === 'win32';

const RUST_HINT = 'Get it with rustup from https://rustup.rs';
const COMPILER_HINT = {
  darwin: 'Get one with: xcode-select --install',
  linux: "Get one with: apt-get install build-essential (or your distribution's gcc or clang)",
};

/** Ends the set-up with a message a user can act on. */
function fail(message) {
  console.error(`\nsetup: ${message}`);
  process.exit(1);
}

function read(path) {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Runs an npm command with its output shown; ends the set-up when it fails. */
function npm(what, args) {
  console.log(`setup: ${what} (npm ${args.join(' ')})`);
  // Under `npm start` this is the very npm that runs us; by hand, the one on PATH.
  const cli = process.env.npm_execpath;
  const [command, prefix] = cli?.endsWith('.js') ? [process.execPath, [cli]] : ['npm', []];
  const { status, error } = spawnSync(command, [...prefix, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: ON_WINDOWS && command === 'npm',
  });
  if (status !== 0) fail(`${what} failed${error ? `: ${error.message}` : ''}`);
}

/** The first line that a program prints about its version, or undefined when there is no such program. */
function versionOf(program) {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n')[0] : undefined;
}

function filesUnder(folder) {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

/** A digest of the names and contents of `files` (those that exist). */
function digest(files) {
  // A folder shared with a container must not keep the other system's addon.
  const hash = createHash('sha256').update(`${process.platform} ${process.arch}\0`);
  for (const file of files.filter((name) => existsSync(join(ROOT, name)))) {
    const content = readFileSync(join(ROOT, file));
    hash.update(`${file}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}

/** Runs `build` unless its `outputs` are there and were made from the same `inputs`. */
function buildWhenChanged(name, inputs, outputsExist, build) {
  const stamp = join(ROOT, 'target', `setup-${name}.stamp`);
  const wanted = digest(inputs);
  if (outputsExist() && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  build();
  if (!outputsExist()) fail(`the ${name} build has not made what it should`);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, wanted);
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < MIN_NODE) fail(`Node ${MIN_NODE} or newer is needed, this is ${process.version}`);
}

/**
 * Whether `node_modules` holds what `package-lock.json` says. npm keeps its own account of what it has installed;
 * only packages for other platforms may be absent from it.
 */
function dependenciesInstalled() {
  const account = 'node_modules/.package-lock.json';
  if (!existsSync(join(ROOT, account))) return false;
  const installed = JSON.parse(read(account)).packages;
  return Object.entries(JSON.parse(read('package-lock.json')).packages).every(([path, wanted]) => {
    if (path === '') return true;
    const found = installed[path];
    if (found === undefined) return wanted.optional === true || wanted.peer === true;
    return found.version === wanted.version && found.integrity === wanted.integrity;
  });
}

/** Compares dotted versions by number. */
function isOlder(version, minimum) {
  const [a, b] = [version, minimum].map((text) => text.split('.').map(Number));
  for (let i = 0; i < b.length; i++) {
    if ((a[i] ?? 0) !== b[i]) return (a[i] ?? 0) < b[i];
  }
  return false;
}

function checkNativeToolchain() {
  if (versionOf('cargo') === undefined) fail(`cargo is missing. ${RUST_HINT}`);
  const rustc = versionOf('rustc');
  if (rustc === undefined) fail(`rustc is missing. ${RUST_HINT}`);
  const minimum = /^rust-version\s*=\s*"([\d.]+)"/m.exec(read('Cargo.toml'))[1];
  const found = /(\d+\.\d+\.\d+)/.exec(rustc)[1];
  if (isOlder(found, minimum))
    fail(`Rust ${minimum} or newer is needed, this is ${found}: rustup update stable`);
  // On Windows rustc itself brings or demands its linker and compiler.
  if (ON_WINDOWS) return;
  const compilers = [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean);
  if (compilers.every((compiler) => versionOf(compiler.split(' ')[0]) === undefined)) {
    fail(`a C compiler is missing (SQLite is compiled in). ${COMPILER_HINT[process.platform] ?? ''}`);
  }
}

function nativeAddonExists() {
  return readdirSync(ROOT).some((name) => name.endsWith('.node'));
}

checkNode();
if (!dependenciesInstalled()) {
  // Installs what the lock file says, like `npm ci`. That one also insists that the lock file lists the binaries of
  // tools for every other platform, which a lock file written from a partial registry mirror cannot.
  npm('installing dependencies', ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund']);
  if (!dependenciesInstalled()) fail('node_modules is not what package-lock.json says: run npm install');
}
buildWhenChanged(
  'native',
  [
    ...filesUnder('src'),
    ...filesUnder('.cargo'),
    'Cargo.toml',
    'Cargo.lock',
    'build.rs',
    'rust-toolchain.toml',
  ],
  nativeAddonExists,
  () => {
    checkNativeToolchain();
    npm('building the native addon, which takes some minutes the first time', ['run', 'build:native']);
  },
);
buildWhenChanged(
  'ts',
  [...filesUnder('lib'), ...['tsconfig.json', 'tsconfig.build.json', 'scripts/build-ts.mjs', 'package.json']],
  () => existsSync(join(ROOT, 'dist/index.js')),
  () => npm('compiling TypeScript', ['run', 'build:ts']),
);
