/** The servers behind a store of ours, as they are: doctor looks at what the store itself would never show. */
import { ForeignMongo } from '../../../native/foreign/mongo.js';
import { ForeignRedis } from '../../../native/foreign/redis.js';
import { mongoLocation } from '../../../options/mongo-location.js';
import { redisLocation } from '../../../options/redis-location.js';
import type { VaultAddress } from '../../stores/vault.js';

export interface RedisServer {
  redis: ForeignRedis;
  /** The first part of every key. */
  prefix: string;
  url: string;
  tls: object | undefined;
}

export interface MongoServer {
  mongo: ForeignMongo;
  /** The name of a collection of the store. */
  collection(name: 'sessions' | 'records' | 'leases' | 'dead_letters'): string;
  url: string;
  database: string;
  tls: object | undefined;
}

/** Undefined where the store has none. */
export async function connectRedis(
  { kind, options }: VaultAddress,
  timeout: number,
): Promise<RedisServer | undefined> {
  if (kind !== 'redis' && kind !== 'hybrid') {
    return undefined;
  }
  const { url, prefix, tls } = redisLocation('', options, kind === 'hybrid', [], noNotes()).location;
  return { redis: await ForeignRedis.open({ redisUrl: url, tls, timeout }), prefix, url, tls };
}

/** Undefined where the store has none. */
export async function connectMongo(
  { kind, options }: VaultAddress,
  timeout: number,
): Promise<MongoServer | undefined> {
  // Its primary may be PostgreSQL.
  if (kind !== 'mongodb' && (kind !== 'hybrid' || options.mongoUrl === undefined)) {
    return undefined;
  }
  const { url, database, collection, tls } = mongoLocation(
    '',
    options,
    kind === 'hybrid',
    [],
    noNotes(),
  ).location;
  const mongo = await ForeignMongo.open({ mongoUrl: url, database, tls, timeout });
  return { mongo, collection: (name) => `${collection}_${name}`, url, database, tls };
}

/** The store has said them already. */
const noNotes = (): { idle: string[]; warnings: string[] } => ({ idle: [], warnings: [] });
