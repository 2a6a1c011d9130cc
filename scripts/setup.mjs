/**
 * Brings a fresh clone, or one whose sources have changed, to where `npm start`, `npm test` and `npm run bench` can
 * run: dependencies, the native addon, the TypeScript build. Does nothing, quickly and silently, when all is up to
 * date. Runs before `node_modules` exists, so it uses Node alone.
 *
 *     node scripts/setup.mjs [--any-profile, to keep an addon built by `npm run dev`]
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
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

const stampOf = (name) => join(ROOT, 'target', `setup-${name}.stamp`);

/** What a build was made from, and for the addon in which profile. */
function readStamp(name) {
  const [digest, profile = 'release'] = existsSync(stampOf(name))
    ? readFileSync(stampOf(name), 'utf8').split(' ')
    : [];
  return { digest, profile };
}

function writeStamp(name, text) {
  mkdirSync(dirname(stampOf(name)), { recursive: true });
  writeFileSync(stampOf(name), text);
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

function installDependencies() {
  if (dependenciesInstalled()) return;
  // Installs what the lock file says, like `npm ci`. That one also insists that the lock file lists the binaries of
  // tools for every other platform, which a lock file written from a partial registry mirror cannot.
  npm('installing dependencies', ['install', '--no-save', '--include=dev', '--no-audit', '--no-fund']);
  if (!dependenciesInstalled()) fail('node_modules is not what package-lock.json says: run npm install');
}

/** `wanted`: `release`, `dev` (which a release build satisfies), or `any`, in which a new build takes the last profile. */
function buildNative(wanted) {
  const current = digest([
    ...['src', '.cargo'].flatMap(filesUnder),
    ...['Cargo.toml', 'Cargo.lock', 'build.rs', 'rust-toolchain.toml'],
  ]);
  const built = readStamp('native');
  const suits = wanted !== 'release' || built.profile === 'release';
  if (nativeAddonExists() && built.digest === current && suits) return;
  checkNativeToolchain();
  const profile = wanted === 'any' ? built.profile : wanted;
  const script = profile === 'dev' ? 'build:native:dev' : 'build:native';
  npm('building the native addon, which takes some minutes the first time', ['run', script]);
  if (!nativeAddonExists()) fail('the native build has made no addon');
  writeStamp('native', `${current} ${profile}`);
}

const digestOfTypeScript = () =>
  digest([
    ...filesUnder('lib'),
    ...['tsconfig.json', 'tsconfig.build.json', 'scripts/build-ts.mjs', 'package.json'],
  ]);

/** Notes that `dist` is made from `lib` as it is now. */
export const markTypeScriptBuilt = () => writeStamp('ts', digestOfTypeScript());

function buildTypeScript() {
  const isBuilt = () => existsSync(join(ROOT, 'dist/index.js'));
  if (isBuilt() && readStamp('ts').digest === digestOfTypeScript()) return;
  npm('compiling TypeScript', ['run', 'build:ts']);
  if (!isBuilt()) fail('the TypeScript build has made no dist/index.js');
  markTypeScriptBuilt();
}

/** Installs dependencies, and builds what is asked for: the addon in a profile, the TypeScript build. */
export function setUp({ native, typescript }) {
  checkNode();
  installDependencies();
  if (native !== undefined) buildNative(native);
  if (typescript) buildTypeScript();
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  setUp({ native: process.argv.includes('--any-profile') ? 'any' : 'release', typescript: true });
}
