/**
 * `npm test`: checks the sources, then runs the Rust tests and the Node tests with the servers they need. All steps
 * run even when one fails. `npm test -- <text>` runs only the Node tests whose path contains the text.
 * `npm run test:quick` (`--quick`) takes what needs no server, no Rust and less than a minute.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tsx from 'tsx/cjs/api';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
/** A file that takes longer hangs: it is ended and counts as failed. */
const FILE_TIMEOUT_MS = 900_000;

const services = tsx.require('./services/index.ts', import.meta.url);

/** Paths of the tests of a quick run: what most changes to `lib` break first. */
const QUICK = /^__test__\/(architecture\/|codec\/|face\/(?!package)|conformance\/suite|crash\/refusals)/;

const quick = process.argv[2] === '--quick';
const filter = quick ? undefined : process.argv[2];
const everything = filter === undefined && !quick;
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

/** Test files below `__test__`, those that match the filter if there is one. */
function testFiles() {
  return readdirSync(join(ROOT, '__test__'), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.test\.m?ts$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)))
    .filter((file) => !file.includes('node_modules') && file.includes(filter ?? ''))
    .filter((file) => !quick || QUICK.test(file))
    .sort();
}

const files = testFiles();
if (files.length === 0) {
  console.error(`no test file below __test__ has "${filter}" in its path`);
  process.exit(1);
}

if (filter === undefined) {
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

if (!quick) await step('servers', startServers);

if (everything) {
  // A Rust test cannot say that it was skipped: each that lacks a server writes a line, and the reporter names them.
  const notes = mkdtempSync(join(tmpdir(), 'vault-rust-tests-'));
  env.BAILEYS_VAULT_SKIPPED_RUST_TESTS = join(notes, 'skipped');
  process.on('exit', () => rmSync(notes, { recursive: true, force: true }));
  await step('Rust tests', () => run('cargo', 'test', '--release', ...target()));
}

// No step line after this one: Node's summary is to be the last thing printed.
console.log(`\n▶ Node tests: ${files.length} files`);
env.BAILEYS_VAULT_FAILED_STEPS = failed.join(', ');
const passed = await run(
  process.execPath,
  ...['--import', 'tsx', '--test', `--test-timeout=${FILE_TIMEOUT_MS}`],
  // Tests of servers measure time: one file after the other. The others may share the machine.
  ...(quick ? [] : ['--test-concurrency=1']),
  ...[`--test-reporter=${join(ROOT, 'scripts/test-reporter.mjs')}`, '--test-reporter-destination=stdout'],
  ...files,
);
await Promise.all(servers.map((server) => server?.stop()));
process.exit(passed && failed.length === 0 ? 0 : 1);
