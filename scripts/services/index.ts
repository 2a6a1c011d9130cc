export { type Availability, type Service, serviceAvailable, servicesAvailable } from './available';
export { startMongo, startMongoReplicaSet } from './mongo';
export { freePort } from './ports';
export { type PostgresOptions, promote, sql, startPgBouncer, startPostgres } from './postgres';
export { REDIS_SERVER_VARIABLE, type RedisOptions, redisProgram, startRedis } from './redis';
export { type RedisCluster, startRedisCluster } from './redis-cluster';
export { type RedisSentinel, startRedisSentinel } from './redis-sentinel';
export { Server, type ServerPlace } from './server';
export {
  SHARED_MONGO_VARIABLE,
  SHARED_POSTGRES_VARIABLE,
  SHARED_REDIS_VARIABLE,
  sharedMongo,
  sharedPostgres,
  sharedRedis,
} from './shared';
export { BUILD_ERROR_VARIABLE } from './stand-in';
export { until } from './wait';
