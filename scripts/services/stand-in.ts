/** Builds the MongoDB stand-in (`mongo-stand-in/`), once for each version of its sources. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { findProgram, outputOf } from './programs';

const SOURCES = join(__dirname, 'mongo-stand-in');
const CACHE = resolve(__dirname, '../../target/mongo-stand-in');
const MAIN = 'vault.MongoStandIn';
const JAVA = 17;
const BUILD_TIMEOUT_MS = 300_000;

/** Set by the test runner when its own attempt to build failed, so that not every test file tries again. */
export const BUILD_ERROR_VARIABLE = 'BAILEYS_VAULT_STAND_IN_ERROR';

const INSTALL = `install a JDK ${JAVA} or newer and Maven (Debian: apt-get install openjdk-17-jdk-headless maven), or a mongod, or set MONGO_URL`;

function builtFolder(): string {
  const hash = createHash('sha256');
  const classes = 'src/main/java/vault';
  const files = readdirSync(join(SOURCES, classes)).sort();
  for (const file of ['pom.xml', ...files.map((name) => join(classes, name))]) {
    hash.update(readFileSync(join(SOURCES, file))).update('\0');
  }
  return join(CACHE, hash.digest('hex').slice(0, 16));
}

function javaMajor(java: string): number {
  return Number(/version "(\d+)/.exec(outputOf(java, '-version') ?? '')?.[1] ?? 0);
}

function whyNotRunnable(): string | undefined {
  const java = findProgram('java');
  if (java === undefined) return `no java on PATH: ${INSTALL}`;
  const major = javaMajor(java);
  return major < JAVA ? `java on PATH is version ${major}: ${INSTALL}` : undefined;
}

/** Builds it when its sources changed. Throws, saying what is missing or with Maven's last words. */
export function buildStandIn(): void {
  const folder = builtFolder();
  if (existsSync(folder)) return;
  const missing = ['javac', 'mvn'].filter((program) => findProgram(program) === undefined);
  if (missing.length > 0) throw new Error(`no ${missing.join(' and no ')} on PATH: ${INSTALL}`);

  // Built aside and moved into place: a killed build leaves nothing that looks finished.
  const draft = `${folder}.${process.pid}`;
  mkdirSync(CACHE, { recursive: true });
  const maven = spawnSync(
    findProgram('mvn') as string,
    ['-q', '-B', `-Dstandin.output=${draft}`, 'compiler:compile', 'dependency:copy-dependencies'],
    { cwd: SOURCES, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: BUILD_TIMEOUT_MS },
  );
  if (maven.status !== 0) {
    rmSync(draft, { recursive: true, force: true });
    const words = maven.error?.message ?? `${maven.stdout}${maven.stderr}`.trim().slice(0, 600);
    throw new Error(`Maven could not build the MongoDB stand-in: ${words}`);
  }
  for (const old of readdirSync(CACHE).filter((name) => /^[0-9a-f]{16}$/.test(name))) {
    rmSync(join(CACHE, old), { recursive: true, force: true });
  }
  renameSync(draft, folder);
}

/** Makes sure that it can be started, building it if need be: true, or why not and what to install. */
export function standInAvailable(): true | string {
  const reason = whyNotRunnable() ?? process.env[BUILD_ERROR_VARIABLE];
  if (reason !== undefined) return reason;
  try {
    buildStandIn();
    return true;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Program and arguments that serve `dataFile` on `port`. */
export function standInCommand(): {
  command: string;
  arguments: (host: string, port: number, dataFile: string) => string[];
} {
  const folder = builtFolder();
  const classPath = `${join(folder, 'classes')}:${join(folder, 'lib')}/*`;
  return {
    command: findProgram('java') as string,
    arguments: (host, port, dataFile) => [
      // Quick to start and small rather than quick at its peak.
      ...['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-XX:-UsePerfData', '-Xmx256m'],
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
      ...['-cp', classPath, MAIN, host, String(port), dataFile],
    ],
  };
}
