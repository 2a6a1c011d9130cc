/** Every kind of store, empty and of its own, as the command line names it and as a bot opens it. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeFolder } from '../situations/support.js';
import { type Service, sharedMongo, sharedPostgres, sharedRedis } from '../support/services.js';

export interface Place {
  /** What `--store` takes. */
  address: string;
  /** What `holder.mjs` takes, for a session of this name. */
  bot(sessionId: string, options?: object): Record<string, unknown>;
}

export interface PlaceKind {
  name: string;
  needs: readonly Service[];
  make(t: TestContext): Promise<Place>;
}

const unique = (): string => `cli-${randomBytes(6).toString('hex')}`;

async function redisPlace(): Promise<Place> {
  const [redisUrl, prefix] = [await sharedRedis(), unique()];
  return {
    address: `${redisUrl}?keyPrefix=${prefix}`,
    bot: (sessionId, options) => ({
      hook: 'useRedisAuthState',
      args: [{ sessionId, redis: { redisUrl, prefix }, ...options }],
    }),
  };
}

/** A URL of MongoDB may have a query already. */
const withOption = (url: string, option: string): string =>
  `${url}${url.includes('?') ? '&' : '/?'}${option}`;

async function mongoPlace(): Promise<Place> {
  const [mongoUrl, databaseName] = [await sharedMongo(), unique()];
  return {
    address: withOption(mongoUrl, `databaseName=${databaseName}`),
    bot: (sessionId, options) => ({
      hook: 'useMongoAuthState',
      args: [{ sessionId, mongodb: { mongoUrl, databaseName }, ...options }],
    }),
  };
}

async function postgresPlace(): Promise<Place> {
  const [postgresUrl, schema] = [await sharedPostgres(), unique()];
  return {
    address: `${postgresUrl}?vaultSchema=${schema}`,
    bot: (sessionId, options) => ({
      hook: 'usePostgresAuthState',
      args: [{ sessionId, postgres: { postgresUrl, schema }, ...options }],
    }),
  };
}

async function hybridPlace(): Promise<Place> {
  const [redisUrl, mongoUrl, name] = [await sharedRedis(), await sharedMongo(), unique()];
  const mongo = withOption(mongoUrl, `databaseName=${name}`);
  return {
    address: `hybrid:${redisUrl}?keyPrefix=${name}+${mongo}`,
    bot: (sessionId, options) => ({
      hook: 'useHybridAuthState',
      args: [
        {
          sessionId,
          hybrid: { redisUrl, redisPrefix: name, mongoUrl, mongoDatabase: name, enableWriteBehind: true },
          ...options,
        },
      ],
    }),
  };
}

async function embeddedPlace(t: TestContext): Promise<Place> {
  const path = join(await makeFolder(t), 'vault');
  return {
    address: path,
    bot: (sessionId, options) => ({
      hook: 'useHybridAuthState',
      args: [{ sessionId, embedded: { path }, ...options }],
    }),
  };
}

export const EMBEDDED: PlaceKind = { name: 'embedded', needs: [], make: embeddedPlace };
export const HYBRID: PlaceKind = { name: 'hybrid', needs: ['redis', 'mongo'], make: hybridPlace };
export const SERVERS: readonly PlaceKind[] = [
  { name: 'Redis', needs: ['redis'], make: redisPlace },
  { name: 'MongoDB', needs: ['mongo'], make: mongoPlace },
  { name: 'PostgreSQL', needs: ['postgres'], make: postgresPlace },
  HYBRID,
];
export const PLACES = [EMBEDDED, ...SERVERS];
