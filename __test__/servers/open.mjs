/** Opens sessions on servers, from tests and from the processes that they kill. Without the real Baileys, which is slow to load. */
import { setTimeout as sleep } from 'node:timers/promises';
import { baileys, MASTER_KEY, vault } from '../crash/light.mjs';

export { MASTER_KEY, vault };

/** In ms. Shorter than the defaults, so that outages can be shorter than that too. */
export const OPERATION_TIMEOUT = 3_000;
const COOL_DOWN = 1_000;

const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };

/** In ms. */
const PATIENCE = 60_000;

/** Opens like `open`, again and again while a busy server gives errors that may pass. */
export async function openPatiently(place, sessionId, options) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await open(place, sessionId, options);
    } catch (error) {
      if (error.retryable !== true || Date.now() > deadline) {
        throw error;
      }
      await sleep(100 + Math.random() * 400);
    }
  }
}

/** Opens `sessionId` at `place`, in its mode: see `Place` in `open.d.mts`. */
export function open(place, sessionId, options = {}) {
  const { mode, redisUrl, mongoUrl, database, folder } = place;
  const { lockTtl = 5, ttl, exclusive = true, sealed = true, acceptLostOutbox = false } = place;
  const { waitReplicas, postgresUrl } = place;
  const anywhere = {
    baileys,
    logger,
    sessionId,
    ...(sealed && { masterKey: MASTER_KEY }),
    openTimeout: 30_000,
    ...options,
  };
  const onServers = {
    ...anywhere,
    exclusive,
    ttl: { lockTtl, ...(ttl !== undefined && { defaultTtl: ttl }), ...options.ttl },
    resilience: {
      operationTimeout: OPERATION_TIMEOUT,
      breaker: { coolDown: COOL_DOWN },
      ...options.resilience,
    },
  };
  switch (mode) {
    case 'embedded':
      return vault.useHybridAuthState({ ...anywhere, embedded: { path: folder } });
    case 'redis':
      return vault.useRedisAuthState({ ...onServers, redis: { redisUrl, waitReplicas } });
    case 'mongo':
      return vault.useMongoAuthState({ ...onServers, mongodb: { mongoUrl, databaseName: database } });
    case 'postgres':
      return vault.usePostgresAuthState({ ...onServers, postgres: { postgresUrl, schema: database } });
    case 'postgres-through':
    case 'postgres-behind':
      return vault.useHybridAuthState({
        ...onServers,
        hybrid: {
          redisUrl,
          postgresUrl,
          postgresSchema: database,
          enableWriteBehind: mode === 'postgres-behind',
          acceptLostOutbox,
        },
      });
    default:
      return vault.useHybridAuthState({
        ...onServers,
        hybrid: {
          redisUrl,
          redisWaitReplicas: waitReplicas,
          mongoUrl,
          mongoDatabase: database,
          enableWriteBehind: mode === 'write-behind',
          outboxWhenMongoDown: mode === 'outbox',
          acceptLostOutbox,
        },
      });
  }
}
