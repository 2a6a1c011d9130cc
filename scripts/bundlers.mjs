/**
 * `npm run test:bundlers`: builds a program with each bundler, with the very lines of docs/guides/bundlers.md, and runs what
 * came out: it must open a session, save creds and keys, and have them again. The bundlers are installed into a
 * temporary folder, from the packed tarball as users do; one that cannot be installed is named at the end, and is a
 * failure only with CI=true. `npm run test:bundlers -- <heading>` does one.
 */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { codeBlocks } from './markdown.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const PROGRAM = join(ROOT, '__test__/situations/programs/bundled.mjs');
const ANSWER = 'a session was opened, saved and opened again';
const START_TIMEOUT_MS = 60_000;

/** Heading in the document to what is installed for it and how its output is run. */
const BUNDLERS = {
  esbuild: { packages: ['esbuild@0.28'], run: (folder) => program(folder, 'dist/bot.mjs') },
  webpack: { packages: ['webpack@5', 'webpack-cli@7'], run: (folder) => program(folder, 'dist/bot.cjs') },
  Rollup: { packages: ['rollup@4'], run: (folder) => program(folder, 'dist/bot.mjs') },
  'Vite SSR': { packages: ['vite@8'], run: (folder) => program(folder, 'dist/bot.mjs') },
  'Next.js': { packages: ['next@16', 'react@19', 'react-dom@19'], prepare: nextApp, run: standalone },
  'All in one file': { packages: ['esbuild@0.28'], run: (folder) => alone(folder, 'dist') },
};

const work = mkdtempSync(join(tmpdir(), 'vault-bundlers-'));
const results = [];

function command(line, cwd, env = {}) {
  const { status, stdout, stderr } = spawnSync(line, {
    cwd,
    shell: true,
    encoding: 'utf8',
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1', ...env },
  });
  if (status !== 0) throw new Error(`${line} failed:\n${`${stdout}${stderr}`.slice(-3000)}`);
  return stdout;
}

function expectAnswer(said) {
  if (!said.includes(ANSWER)) throw new Error(`the program said: ${said}`);
}

/** Where it was built, with its node_modules. */
function program(folder, file) {
  expectAnswer(command(`node ${file}`, folder));
}

/** In a folder with nothing else in it. */
function alone(folder, built) {
  const empty = join(work, 'alone');
  cpSync(join(folder, built), empty, { recursive: true });
  expectAnswer(command('node bot.cjs', empty));
  for (const file of readdirSync(empty).filter((name) => name.endsWith('.node'))) rmSync(join(empty, file));
  const { stderr } = spawnSync('node', ['bot.cjs'], { cwd: empty, encoding: 'utf8' });
  if (!stderr.includes('NATIVE_MISSING') || !stderr.includes('bundled')) {
    throw new Error(`without the native core the program said: ${stderr}`);
  }
}

function nextApp(folder) {
  const files = {
    'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>;',
    'app/page.js': 'export default () => <p>bot</p>;',
    'app/bot/route.js': `
      import { roundTrip } from '../../bot.mjs';
      export const dynamic = 'force-dynamic';
      export const GET = async () => new Response(await roundTrip().catch((error) => error.stack));
    `,
  };
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), content);
  }
}

/** Next's standalone output, taken to where nothing else is, as into an image. */
async function standalone(folder) {
  const image = join(work, 'image');
  cpSync(join(folder, '.next/standalone'), image, { recursive: true });
  const port = await freePort();
  const server = spawn('node', ['server.js'], {
    cwd: image,
    env: { ...process.env, PORT: String(port), HOSTNAME: '127.0.0.1' },
    stdio: 'ignore',
  });
  try {
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const said = await fetch(`http://127.0.0.1:${port}/bot`).then(
        (response) => response.text(),
        () => undefined,
      );
      if (said !== undefined) return expectAnswer(said);
      if (Date.now() > deadline) throw new Error('the server did not start');
      await sleep(200);
    }
  } finally {
    server.kill();
  }
}

function freePort() {
  return new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

const blocks = codeBlocks(readFileSync(join(ROOT, 'docs/guides/bundlers.md'), 'utf8'));
const baileys = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).devDependencies.baileys;
const tarball = join(work, command(`npm pack --silent --pack-destination ${work}`, ROOT).trim());
const only = process.argv[2];

for (const [heading, { packages, prepare, run }] of Object.entries(BUNDLERS)) {
  if (only !== undefined && heading !== only) continue;
  const folder = join(work, heading.replaceAll(/\W/g, '-'));
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  cpSync(PROGRAM, join(folder, 'bot.mjs'));
  try {
    command(`npm install --no-audit --no-fund ${tarball} baileys@${baileys} ${packages.join(' ')}`, folder);
  } catch (error) {
    results.push({ heading, missing: error.message });
    continue;
  }
  const versions = packages
    .map((name) => name.replace(/@[^@]+$/, ''))
    .map((name) => {
      const { version } = JSON.parse(
        readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8'),
      );
      return `${name} ${version}`;
    });
  const start = performance.now();
  try {
    prepare?.(folder);
    const own = blocks.filter((block) => block.heading === heading);
    if (own.length === 0) throw new Error('docs/guides/bundlers.md has no lines for it');
    for (const { language, code } of own) {
      if (language === 'sh') command(`set -e\n${code}`, folder);
      else writeFileSync(join(folder, /^\/\/ (\S+)$/m.exec(code)[1]), code);
    }
    await run(folder);
    results.push({ heading, versions, seconds: (performance.now() - start) / 1000 });
  } catch (error) {
    results.push({ heading, versions, error: error.message });
  }
}
rmSync(work, { recursive: true, force: true });

for (const { heading, versions, missing, error, seconds } of results) {
  if (missing !== undefined) console.log(`- ${heading}: not installed here, so not tried: ${missing}`);
  else if (error !== undefined) console.log(`✖ ${heading} (${versions.join(', ')}): ${error}`);
  else console.log(`✔ ${heading} (${versions.join(', ')}): built and ran in ${seconds.toFixed(1)} s`);
}
const failed = results.filter(({ error }) => error !== undefined).length;
const missing = results.filter((result) => result.missing !== undefined).length;
console.log(
  `${results.length - failed - missing} built and run, ${failed} failed, ${missing} not installed here`,
);
process.exit(failed > 0 || results.length === 0 || (missing > 0 && process.env.CI === 'true') ? 1 : 0);
