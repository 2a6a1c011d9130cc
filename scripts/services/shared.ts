/** Servers that many test files use together; for tests that kill servers there is `startRedis` and so on. */
import { startMongo } from './mongo';
import { startPostgres } from './postgres';
import { startRedis } from './redis';
import type { Server } from './server';

/** URLs of the servers that the test runner has started for all files. */
export const SHARED_REDIS_VARIABLE = 'BAILEYS_VAULT_TEST_REDIS';
export const SHARED_MONGO_VARIABLE = 'BAILEYS_VAULT_TEST_MONGO';
export const SHARED_POSTGRES_VARIABLE = 'BAILEYS_VAULT_TEST_POSTGRES';

let redis: Promise<Server> | undefined;
let mongo: Promise<Server> | undefined;
let postgres: Promise<Server> | undefined;

/**
 * URL of a Redis that other tests use at the same time: use key names of your own, never `FLUSHALL`.
 * Without the test runner, one is started for this process.
 */
export async function sharedRedis(): Promise<string> {
  const given = process.env[SHARED_REDIS_VARIABLE];
  if (given !== undefined) return given;
  redis ??= startRedis();
  return (await redis).url;
}

/**
 * URL of a MongoDB that other tests use at the same time: use a database of your own and drop it afterwards.
 * It is `MONGO_URL` when that is set.
 */
export async function sharedMongo(): Promise<string> {
  const given = process.env.MONGO_URL ?? process.env[SHARED_MONGO_VARIABLE];
  if (given !== undefined) return given;
  mongo ??= startMongo();
  return (await mongo).url;
}

/** URL of a PostgreSQL database that other tests use at the same time: use a schema of your own and drop it afterwards. */
export async function sharedPostgres(): Promise<string> {
  const given = process.env[SHARED_POSTGRES_VARIABLE];
  if (given !== undefined) return given;
  postgres ??= startPostgres();
  return (await postgres).url;
}
