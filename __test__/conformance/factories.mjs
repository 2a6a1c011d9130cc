/** Every store that is put to the suite, as the processes that are killed load it: plain JavaScript, the built package. */
import { createRequire } from 'node:module';
import { basename, dirname } from 'node:path';

const vault = createRequire(import.meta.url)('../../dist/index.js');

/** Not a secret: nothing but tests is sealed with it. */
export const MASTER_KEY = 'c0ffee42'.repeat(8);

const silent = () => {};
/** The suite damages and kills on purpose, and then the store rightly says so. */
const logger = { debug: silent, info: silent, warn: silent, error: silent };

export const folder = (location) => vault.useMultiFileAuthState(location, { logger });

export const folderSealed = (location) =>
  vault.useMultiFileAuthState(location, { logger, masterKey: MASTER_KEY });

export const folderUncached = (location) => vault.useMultiFileAuthState(location, { logger, cacheBytes: 0 });

export const embedded = (location) =>
  vault.useHybridAuthState({
    logger,
    sessionId: basename(location),
    embedded: { path: dirname(location) },
  });

export const embeddedSealedFull = (location) =>
  vault.useHybridAuthState({
    logger,
    sessionId: basename(location),
    embedded: { path: dirname(location) },
    durability: 'full',
    masterKey: MASTER_KEY,
    security: { encryptionAlgorithm: 'aes-256-gcm', enableCompression: true },
  });

// On servers. The processes that are killed learn from the environment where they are.

const { env } = process;

/** A case's folder is made for it alone, so its name is too. */
const sessionOf = (location) => basename(dirname(location));

const redis = (location, redisUrl, options = {}) =>
  vault.useRedisAuthState({ logger, sessionId: sessionOf(location), redis: { redisUrl }, ...options });

export const redisPlain = (location) => redis(location, env.BAILEYS_VAULT_TEST_REDIS);

export const redisSealed = (location) =>
  redis(location, env.BAILEYS_VAULT_TEST_REDIS, { masterKey: MASTER_KEY });

export const redisCluster = (location) =>
  redis(location, env.BAILEYS_VAULT_TEST_CLUSTER, { masterKey: MASTER_KEY });

const mongo = (location, options = {}) =>
  vault.useMongoAuthState({
    logger,
    sessionId: sessionOf(location),
    mongodb: { mongoUrl: env.BAILEYS_VAULT_TEST_MONGO, databaseName: env.BAILEYS_VAULT_TEST_DATABASE },
    ...options,
  });

export const mongoPlain = (location) => mongo(location);

export const mongoSealed = (location) => mongo(location, { masterKey: MASTER_KEY });

const hybrid = (location, mode, options = {}) =>
  vault.useHybridAuthState({
    logger,
    sessionId: sessionOf(location),
    hybrid: {
      redisUrl: env.BAILEYS_VAULT_TEST_REDIS,
      mongoUrl: env.BAILEYS_VAULT_TEST_MONGO,
      mongoDatabase: env.BAILEYS_VAULT_TEST_DATABASE,
      ...mode,
    },
    ...options,
  });

export const hybridSealed = (location) => hybrid(location, {}, { masterKey: MASTER_KEY });

export const hybridWriteBehind = (location) => hybrid(location, { enableWriteBehind: true });

export const hybridWriteBehindSealed = (location) =>
  hybrid(location, { enableWriteBehind: true }, { masterKey: MASTER_KEY });

const postgres = (location, options = {}) =>
  vault.usePostgresAuthState({
    logger,
    sessionId: sessionOf(location),
    postgres: { postgresUrl: env.BAILEYS_VAULT_TEST_POSTGRES, schema: env.BAILEYS_VAULT_TEST_SCHEMA },
    ...options,
  });

export const postgresPlain = (location) => postgres(location);

export const postgresSealed = (location) => postgres(location, { masterKey: MASTER_KEY });

export const pgbouncerSealed = (location) =>
  vault.usePostgresAuthState({
    logger,
    sessionId: sessionOf(location),
    masterKey: MASTER_KEY,
    postgres: { postgresUrl: env.BAILEYS_VAULT_TEST_PGBOUNCER, schema: env.BAILEYS_VAULT_TEST_SCHEMA },
  });

const overPostgres = (location, mode) =>
  vault.useHybridAuthState({
    logger,
    sessionId: sessionOf(location),
    masterKey: MASTER_KEY,
    hybrid: {
      redisUrl: env.BAILEYS_VAULT_TEST_REDIS,
      postgresUrl: env.BAILEYS_VAULT_TEST_POSTGRES,
      postgresSchema: env.BAILEYS_VAULT_TEST_SCHEMA,
      ...mode,
    },
  });

export const hybridPostgres = (location) => overPostgres(location, {});

export const hybridPostgresWriteBehind = (location) => overPostgres(location, { enableWriteBehind: true });
