/** Servers that scenarios start for themselves, and whether they can. */
import { Redis, type RedisOptions } from 'ioredis';
import {
  type Service,
  serviceAvailable,
  startMongo,
  startPostgres,
  startRedis,
} from '../../scripts/services/index.js';

/** Redis as it is measured everywhere: on loopback, in memory only. */
export const REDIS_NOTE =
  'Redis runs on the same machine, on loopback and without persistence: read the ratios, not the rates.';

/** Says on what machine-readable ground a scenario cannot run here, or nothing. */
export function missing(...services: Service[]): string | undefined {
  const reasons = services.map(serviceAvailable).filter((answer) => answer !== true);
  return reasons.length === 0 ? undefined : reasons.join('; ');
}

/** A real mongod is a different thing from the stand-in, so results say which it was. */
export const mongoNote = (): string =>
  serviceAvailable('realMongo') === true
    ? 'MongoDB is the mongod or the MONGO_URL of this machine.'
    : 'MongoDB is a stand-in (mongo-java-server with H2, a commit before each answer): slower than a mongod.';

export interface Place {
  url: string;
  stop(): Promise<void>;
}

export async function redisPlace(): Promise<Place> {
  const server = await startRedis();
  return { url: server.url, stop: () => server.stop() };
}

/** `MONGO_URL` when that is set, else a server of our own. */
export async function mongoPlace(): Promise<Place> {
  const given = process.env.MONGO_URL;
  if (given !== undefined) {
    return { url: given, stop: async () => {} };
  }
  const server = await startMongo();
  return { url: server.url, stop: () => server.stop() };
}

/** PostgreSQL as it is set up by its package: every write is on disk before its answer. */
export const POSTGRES_NOTE =
  'PostgreSQL runs on the same machine, on loopback, with its own defaults: read the ratios, not the rates.';

export async function postgresPlace(): Promise<Place> {
  const server = await startPostgres();
  return { url: server.url, stop: () => server.stop() };
}

/** One connection, ready. */
export async function connectRedis(url: string, options: RedisOptions = {}): Promise<Redis> {
  const redis = new Redis(url, { ...options, lazyConnect: true });
  await redis.connect();
  return redis;
}
