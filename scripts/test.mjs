/**
 * `npm test`: checks the sources, then runs the Rust tests and the Node tests with the servers they need. All steps
 * run even when one fails.
 *
 * - `npm test -- <text> …` runs only the Node tests whose path contains one of the texts, and builds and starts only
 *   what those need.
 * - `npm run test:unit` (`--unit`) takes what needs no server, no Rust and less than a minute.
 * - `npm run test:rust -- <filter> …` (`--rust`) runs only the Rust tests whose path contains one of the filters.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setUp } from './setup.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
/** A file that takes longer hangs: it is ended and counts as failed. */
const FILE_TIMEOUT_MS = 900_000;

/** Paths of the tests that need no server: what most changes to `lib` break first. */
const UNIT = /^__test__\/(architecture\/|codec\/|api\/(?!package)|conformance\/suite|crash\/refusals)/;
/** Paths of the tests that read or load sources only. */
const NEEDS_NO_BUILD = /^__test__\/(architecture|codec|api\/options)\//;

const [first, ...rest] = process.argv.slice(2);
const unit = first === '--unit';
const rust = first === '--rust';
/** Texts to choose tests by; none chooses all. */
const filters = unit || rust ? rest : process.argv.slice(2);
const everything = first === undefined;

/** Test files below `__test__` that were asked for. */
function testFiles() {
  if (rust) return [];
  return readdirSync(join(ROOT, '__test__'), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.test\.m?ts$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)).replaceAll('\\', '/'))
    .filter((file) => !file.includes('node_modules'))
    .filter((file) => filters.length === 0 || filters.some((text) => file.includes(text)))
    .filter((file) => !unit || UNIT.test(file))
    .sort();
}

const files = testFiles();
if (files.length === 0 && !rust) {
  console.error(
    `no test file below __test__ has ${filters.map((text) => `"${text}"`).join(' or ')} in its path`,
  );
  process.exit(1);
}
const builds = !rust && !files.every((file) => NEEDS_NO_BUILD.test(file));
const needsServers = !files.every((file) => UNIT.test(file)) || rust;
// By hand (`node scripts/test.mjs`) it takes what is there.
if (process.env.npm_lifecycle_event !== undefined) {
  setUp({ native: builds ? (everything ? 'release' : 'any') : undefined, typescript: builds });
}

// Installed only now, in a fresh clone.
const tsx = await import('tsx/cjs/api');
const services = tsx.require('./services/index.ts', import.meta.url);
const failed = [];
/** For the processes of all later steps: where the shared servers are. */
const env = { ...process.env, ...nameRedisServer() };

/** Runs `body`, reports how long it took, and notes when it does not resolve to true. */
async function step(name, body) {
  console.log(`\n▶ ${name}`);
  const start = performance.now();
  const passed = await body();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${passed ? '✔' : '✖'} ${name} (${seconds} s)`);
  if (!passed) failed.push(name);
}

/** Runs a program with its output shown; resolves to whether it succeeded. */
async function run(command, ...args) {
  const child = spawn(command, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], env });
  try {
    const [code] = await once(child, 'close');
    return code === 0;
  } catch (error) {
    console.error(error.code === 'ENOENT' ? `${command} is not on PATH` : error.message);
    return false;
  }
}

/** The addon is built for a named target; the same name here lets the tests use what that build compiled. */
function target() {
  const [, host] = /^host: (.+)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' })) ?? [];
  return ['--target', host];
}

/** The Rust tests start `redis-server` from the path: there a given server gets that name. */
function nameRedisServer() {
  if (!process.env[services.REDIS_SERVER_VARIABLE]) return {};
  const folder = mkdtempSync(join(tmpdir(), 'vault-redis-server-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  symlinkSync(services.redisProgram(), join(folder, 'redis-server'));
  return { PATH: `${folder}${delimiter}${process.env.PATH}` };
}

const tool = (path, ...args) => run(process.execPath, join(ROOT, 'node_modules', path), ...args);

/** Starts one shared server and tells later steps its URL; a missing one is no failure here. */
async function share(service, variable, url, start) {
  const available = services.serviceAvailable(service);
  if (available !== true) {
    console.log(`  ${service}: ${available}`);
    return undefined;
  }
  const server = url === undefined ? await start() : undefined;
  env[variable] = url ?? server.url;
  console.log(`  ${service}: ${server === undefined ? 'given from outside' : `port ${server.port}`}`);
  return server;
}

if (everything || unit) {
  await step('lint and format (biome)', () => tool('@biomejs/biome/bin/biome', 'check', '.'));
  await step('types (tsc)', () => tool('typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'));
}
if (everything) {
  await step('Rust format', () => run('cargo', 'fmt', '--check'));
  await step('Rust lint (clippy)', () =>
    run('cargo', 'clippy', '--release', ...target(), '--all-targets', '--', '-D', 'warnings'),
  );
}

const servers = [];
async function startServers() {
  try {
    servers.push(
      await share('redis', services.SHARED_REDIS_VARIABLE, undefined, services.startRedis),
      await share('postgres', services.SHARED_POSTGRES_VARIABLE, undefined, services.startPostgres),
      await share('mongo', services.SHARED_MONGO_VARIABLE, process.env.MONGO_URL, services.startMongo),
    );
    const ownMongo = services.serviceAvailable('ownMongo');
    // So that not every test file tries the same build again.
    if (ownMongo !== true) env[services.BUILD_ERROR_VARIABLE] = ownMongo;
    return true;
  } catch (error) {
    console.error(error.message);
    return false;
  }
}

if (needsServers) await step('servers', startServers);

async function stopServers() {
  await Promise.all(servers.map((server) => server?.stop()));
}

// A Rust test cannot say that it was skipped: each that lacks a server writes a line, and the reporter names them.
const notes = mkdtempSync(join(tmpdir(), 'vault-rust-tests-'));
process.on('exit', () => rmSync(notes, { recursive: true, force: true }));
const skipped = join(notes, 'skipped');

if (everything) {
  env.BAILEYS_VAULT_SKIPPED_RUST_TESTS = skipped;
  await step('Rust tests', () => run('cargo', 'test', '--release', ...target()));
}
if (rust) {
  env.BAILEYS_VAULT_SKIPPED_RUST_TESTS = skipped;
  const passed = await run('cargo', 'test', '--release', ...target(), '--lib', '--', ...filters);
  if (existsSync(skipped)) console.log(`\nSkipped:\n${readFileSync(skipped, 'utf8').trim()}`);
  await stopServers();
  process.exit(passed && failed.length === 0 ? 0 : 1);
}

// No step line after this one: Node's summary is to be the last thing printed.
console.log(`\n▶ Node tests: ${files.length} files`);
env.BAILEYS_VAULT_FAILED_STEPS = failed.join(', ');
const passed = await run(
  process.execPath,
  ...['--import', 'tsx', '--test', `--test-timeout=${FILE_TIMEOUT_MS}`],
  // Tests of servers mostly wait for other processes; more of them at a time would be late for what they time.
  ...(needsServers ? ['--test-concurrency=3'] : []),
  ...[`--test-reporter=${join(ROOT, 'scripts/test-reporter.mjs')}`, '--test-reporter-destination=stdout'],
  ...files,
);
await stopServers();
process.exit(passed && failed.length === 0 ? 0 : 1);
