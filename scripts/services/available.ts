import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { postgresFolder } from './postgres';
import { findProgram, outputOf } from './programs';
import { REDIS_SERVER_VARIABLE, redisProgram } from './redis';
import { standInAvailable } from './stand-in';

/** What a test may need. */
export interface Availability {
  /** A `redis-server` 6.2 or newer, or Valkey, that can be started: single, Cluster or Sentinel. */
  readonly redis: true | string;
  /** Something that speaks MongoDB: `MONGO_URL`, a `mongod` or the stand-in. */
  readonly mongo: true | string;
  /** A MongoDB that tests may kill and restart: a `mongod` or the stand-in. */
  readonly ownMongo: true | string;
  /** A real MongoDB, with transactions, TTL and elections: `MONGO_URL` or a `mongod`. */
  readonly realMongo: true | string;
  /** Real MongoDB servers of our own, for a replica set that tests may take apart. */
  readonly mongod: true | string;
  /** A PostgreSQL server 13 or newer, that can be started. */
  readonly postgres: true | string;
  /** PgBouncer, and a server behind it. */
  readonly pgbouncer: true | string;
}

export type Service = keyof Availability;

function redisAvailable(): true | string {
  const install =
    'install redis-server 6.2 or newer (Debian: apt-get install redis-server; macOS: brew install redis)';
  const program = redisProgram();
  if (program === undefined) return `no redis-server on PATH: ${install}`;
  const version = outputOf(program, '--version');
  if (version === undefined)
    return `${program} does not run: set ${REDIS_SERVER_VARIABLE} to a server's path`;
  const [, major = 0, minor = 0] = (/v=(\d+)\.(\d+)/.exec(version) ?? []).map(Number);
  return major > 6 || (major === 6 && minor >= 2) ? true : `redis-server is ${major}.${minor}: ${install}`;
}

function hasMongoUrl(): boolean {
  return process.env.MONGO_URL !== undefined;
}

function hasMongod(): boolean {
  return findProgram('mongod') !== undefined;
}

function postgresAvailable(): true | string {
  const install =
    'install PostgreSQL 13 or newer (Debian: apt-get install postgresql; macOS: brew install postgresql)';
  const folder = postgresFolder();
  if (folder === undefined) return `no PostgreSQL server: ${install}`;
  const version = outputOf(join(folder, 'postgres'), '--version') ?? '';
  const major = Number(/ (\d+)/.exec(version)?.[1] ?? 0);
  return major >= 13 ? true : `PostgreSQL is ${major}: ${install}`;
}

function pgbouncerAvailable(): true | string {
  const found = findProgram('pgbouncer') !== undefined || existsSync('/usr/sbin/pgbouncer');
  return found ? serviceAvailable('postgres') : 'no pgbouncer (Debian: apt-get install pgbouncer)';
}

const CHECKS: { readonly [S in Service]: () => true | string } = {
  redis: redisAvailable,
  mongo: () => hasMongoUrl() || serviceAvailable('ownMongo'),
  ownMongo: () => hasMongod() || standInAvailable(),
  realMongo: () => hasMongoUrl() || hasMongod() || 'no real MongoDB: put a mongod on PATH or set MONGO_URL',
  mongod: () => hasMongod() || 'no mongod on PATH',
  postgres: postgresAvailable,
  pgbouncer: pgbouncerAvailable,
};

const known = new Map<Service, true | string>();

/** Whether tests can have this service here: true, or why not and what to install. Checked once. */
export function serviceAvailable(service: Service): true | string {
  const answer = known.get(service) ?? CHECKS[service]();
  known.set(service, answer);
  return answer;
}

/** The answer of `serviceAvailable` for every service. May build the MongoDB stand-in, which takes a while. */
export function servicesAvailable(): Availability {
  return {
    redis: serviceAvailable('redis'),
    mongo: serviceAvailable('mongo'),
    ownMongo: serviceAvailable('ownMongo'),
    realMongo: serviceAvailable('realMongo'),
    mongod: serviceAvailable('mongod'),
    postgres: serviceAvailable('postgres'),
    pgbouncer: serviceAvailable('pgbouncer'),
  };
}
