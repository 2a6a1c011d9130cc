import { IDLE_HYBRID_OPTIONS } from '../compat/dialects/store-core.js';
import { ConfigError } from '../errors.js';
import { fields, flag, integer, isEmpty, join, optional, refuse } from './check.js';
import { DEFAULT_OUTBOX_LIMIT } from './defaults.js';
import { parseMasterKey } from './master-keys.js';
import { type MongoLocation, mongoLocation, mongoNames } from './mongo-location.js';
import {
  namesPostgres,
  type PostgresLocation,
  postgresLocation,
  postgresNames,
  refuseClient,
} from './postgres-location.js';
import { type RedisLocation, redisLocation, redisNames } from './redis-location.js';
import { idleNote, type Notes, type ServerFields } from './section.js';
import type { OptionSources } from './security.js';
import {
  resolveFencingToken,
  resolveQueue,
  resolveSessionId,
  resolveStore,
  SECTIONS,
  SERVER,
  type StoreSettings,
} from './shared.js';

/** The names that are documented first; `redisNames` and `mongoNames` have all. */
const REDIS_FIELDS = [
  'redisUrl',
  'host',
  'port',
  'path',
  'username',
  'password',
  'db',
  'tls',
  'prefix',
  'waitReplicas',
  ...SERVER,
];
const MONGO_FIELDS = [
  'mongoUrl',
  'databaseName',
  'collectionName',
  'user',
  'pass',
  'tls',
  'acceptLostOutbox',
  ...SERVER,
];
const POSTGRES_FIELDS = [
  'postgresUrl',
  'host',
  'port',
  'user',
  'password',
  'database',
  'schema',
  'maxConnections',
  'tls',
  'applicationName',
  'acceptLostOutbox',
  ...SERVER,
];
const HYBRID_FIELDS = [
  ...[
    'redisUrl',
    'redisHost',
    'redisPort',
    'redisUsername',
    'redisPassword',
    'redisDb',
    'redisTls',
    'redisPrefix',
    'redisWaitReplicas',
  ],
  ...['mongoUrl', 'mongoDatabase', 'mongoCollection', 'mongoUser', 'mongoPass', 'mongoTls'],
  ...['postgresUrl', 'postgresDatabase', 'postgresSchema', 'postgresUser', 'postgresPassword', 'postgresTls'],
  'enableWriteBehind',
  'outboxWhenMongoDown',
  'outboxWhenPostgresDown',
  'acceptLostOutbox',
  'outboxLimit',
  'queue',
  ...Object.keys(IDLE_HYBRID_OPTIONS),
  ...SERVER,
];

const ALSO_REDIS = redisNames(false);
const ALSO_MONGO = mongoNames(false);
const ALSO_POSTGRES = postgresNames(false);
const ALSO_HYBRID = [...redisNames(true), ...mongoNames(true), ...postgresNames(true)];

/** A hook's checked options. */
export interface SessionSettings extends StoreSettings {
  sessionId: string;
  fencingToken: number | undefined;
}

/** @throws ConfigError naming the field */
export function resolveRedisHook(options: unknown): SessionSettings {
  const { own, section, sources } = sectionOf('redis', options, REDIS_FIELDS, ALSO_REDIS);
  return Object.assign(redisStore('redis', section, sources), sessionOf(own));
}

/** @throws ConfigError naming the field */
export function resolveMongoHook(options: unknown): SessionSettings {
  const { own, section, sources } = sectionOf('mongodb', options, MONGO_FIELDS, ALSO_MONGO);
  return Object.assign(mongoStore('mongodb', section, sources), sessionOf(own));
}

/** @throws ConfigError naming the field */
export function resolvePostgresHook(options: unknown): SessionSettings {
  refuseClient('postgres', (options as { postgres?: unknown } | undefined)?.postgres);
  const { own, section, sources } = sectionOf('postgres', options, POSTGRES_FIELDS, ALSO_POSTGRES);
  return Object.assign(postgresStore('postgres', section, sources), sessionOf(own));
}

/** @throws ConfigError naming the field */
export function resolveHybridHook(options: unknown): SessionSettings {
  const { own, section, sources } = sectionOf('hybrid', options, HYBRID_FIELDS, ALSO_HYBRID);
  return Object.assign(hybridStore('hybrid', section, sources), sessionOf(own));
}

/** A Redis store's own configuration, with what a crypto and codec service add. */
export function resolveRedisStore(config: unknown, services: Record<string, unknown>): StoreSettings {
  const section = fields('config', config, REDIS_FIELDS, ALSO_REDIS);
  return redisStore('config', section, storeSources(section, services));
}

/** A MongoDB store's own configuration, with what a crypto and codec service add. */
export function resolveMongoStore(config: unknown, services: Record<string, unknown>): StoreSettings {
  const section = fields('config', config, MONGO_FIELDS, ALSO_MONGO);
  return mongoStore('config', section, storeSources(section, services));
}

/** A PostgreSQL store's own configuration, with what a crypto and codec service add. */
export function resolvePostgresStore(config: unknown, services: Record<string, unknown>): StoreSettings {
  refuseClient('config', config);
  const section = fields('config', config, POSTGRES_FIELDS, ALSO_POSTGRES);
  return postgresStore('config', section, storeSources(section, services));
}

/** A hybrid store's own configuration, at the locations and with the keys of the two stores it is made of. */
export function resolveHybridStore(
  config: unknown,
  redis: StoreSettings,
  primary: StoreSettings,
): StoreSettings {
  if (redis.config.backend !== 'redis' || !['mongodb', 'postgres'].includes(primary.config.backend)) {
    throw new ConfigError('redis', 'expected a store of Redis and a store of MongoDB or PostgreSQL');
  }
  const section = fields('config', config, HYBRID_FIELDS, ALSO_HYBRID);
  const { masterKey, previousMasterKeys, masterKeySource, previousMasterKeysSource } = redis.security;
  // Of keys that are not there yet, this says that there will be some.
  const later = { masterKey: () => undefined };
  const services = masterKey !== null ? { masterKey, previousMasterKeys } : masterKeySource && later;
  const { masterKey: own, previousMasterKeys: _, ...rest } = section;
  if (!isEmpty(own) && !(masterKey?.equals(parseMasterKey('config.masterKey', own)) ?? false)) {
    throw new ConfigError(
      'config.masterKey',
      'is not the key of the Redis store, which seals for both: give that one to createRedisStore',
    );
  }
  const settings = joinedStore(
    'config',
    rest,
    storeSources(rest, services ?? {}),
    { location: redis.config.redis, fields: redis.fields.redis },
    primaryOf(primary),
    { idle: [], warnings: [] },
  );
  const found = settings.security.masterKeySource;
  if (found !== null && !('ask' in found && found.ask === later.masterKey)) {
    throw new ConfigError(found.field, 'is to be given to createRedisStore, which seals for both');
  }
  return {
    ...settings,
    security: { ...settings.security, previousMasterKeys, masterKeySource, previousMasterKeysSource },
    config: { ...settings.config, security: redis.config.security },
  };
}

const storeSources = (section: Record<string, unknown>, services: Record<string, unknown>): OptionSources => [
  { path: 'config', options: section },
  { path: 'services', options: services },
];

function redisStore(path: string, section: Record<string, unknown>, sources: OptionSources): StoreSettings {
  const notes: Notes = { idle: [], warnings: [] };
  const redis = redisLocation(path, section, false, sources, notes);
  return resolveStore({ backend: 'redis', redis: redis.location }, sources, notes, { redis: redis.fields });
}

function mongoStore(path: string, section: Record<string, unknown>, sources: OptionSources): StoreSettings {
  const notes: Notes = { idle: [], warnings: [] };
  const mongo = mongoLocation(path, section, false, sources, notes);
  const acceptLostOutbox = optional(section.acceptLostOutbox, false, (value) =>
    flag(join(path, 'acceptLostOutbox'), value),
  );
  const mongodb = { ...mongo.location, ...(acceptLostOutbox && { acceptLostOutbox }) };
  return resolveStore({ backend: 'mongodb', mongodb }, sources, notes, { mongodb: mongo.fields });
}

function postgresStore(
  path: string,
  section: Record<string, unknown>,
  sources: OptionSources,
): StoreSettings {
  const notes: Notes = { idle: [], warnings: [] };
  const found = postgresLocation(path, section, false, sources, notes);
  const acceptLostOutbox = optional(section.acceptLostOutbox, false, (value) =>
    flag(join(path, 'acceptLostOutbox'), value),
  );
  const postgres = { ...found.location, ...(acceptLostOutbox && { acceptLostOutbox }) };
  return resolveStore({ backend: 'postgres', postgres }, sources, notes, { postgres: found.fields });
}

function hybridStore(path: string, section: Record<string, unknown>, sources: OptionSources): StoreSettings {
  const notes: Notes = { idle: [], warnings: [] };
  const redis = redisLocation(path, section, true, sources, notes);
  if (!namesPostgres(section)) {
    const mongo = mongoLocation(path, section, true, sources, notes);
    return joinedStore(path, section, sources, redis, { mongodb: mongo }, notes);
  }
  if (!isEmpty(section.mongoUrl)) {
    throw new ConfigError(
      join(path, 'mongoUrl'),
      'cannot be given together with postgresUrl: one is the primary',
    );
  }
  const postgres = postgresLocation(path, section, true, sources, notes);
  return joinedStore(path, section, sources, redis, { postgres }, notes);
}

/** Where the primary is by the options of its own store. */
function primaryOf({ config, fields }: StoreSettings): Primary {
  return config.backend === 'postgres'
    ? { postgres: { location: config.postgres as PostgresLocation, fields: fields.postgres } }
    : { mongodb: { location: config.mongodb as MongoLocation, fields: fields.mongodb } };
}

interface Located<P> {
  location: P;
  fields: ServerFields | undefined;
}

type Primary =
  | { mongodb: Located<MongoLocation>; postgres?: undefined }
  | { postgres: Located<PostgresLocation>; mongodb?: undefined };

function joinedStore(
  path: string,
  section: Record<string, unknown>,
  sources: OptionSources,
  redis: Located<RedisLocation>,
  { mongodb, postgres }: Primary,
  notes: Notes,
): StoreSettings {
  const at = (name: string): string => join(path, name);
  const whether = (name: string): boolean => optional(section[name], false, (value) => flag(at(name), value));
  for (const [name, { max, unit, hint }] of Object.entries(IDLE_HYBRID_OPTIONS)) {
    if (section[name] !== undefined) {
      integer(at(name), section[name], 0, max, unit);
      if (hint !== undefined) {
        notes.idle.push(idleNote(at(name), hint));
      }
    }
  }
  const writeBehind = whether('enableWriteBehind');
  const [byMongo, byPostgres] = [whether('outboxWhenMongoDown'), whether('outboxWhenPostgresDown')];
  const other = postgres === undefined ? 'outboxWhenPostgresDown' : 'outboxWhenMongoDown';
  if (postgres === undefined ? byPostgres : byMongo) {
    throw new ConfigError(at(other), 'is for the other primary');
  }
  if (redis.location.waitReplicas !== undefined && !writeBehind && !byMongo && !byPostgres) {
    notes.idle.push(
      idleNote(at('redisWaitReplicas'), 'without an outbox the primary acknowledges every write'),
    );
  }
  const queue = optional(section.queue, undefined, (value) => resolveQueue(at('queue'), value));
  return resolveStore(
    {
      backend: 'hybrid',
      redis: redis.location,
      ...(mongodb !== undefined && { mongodb: mongodb.location }),
      ...(postgres !== undefined && { postgres: postgres.location }),
      hybrid: {
        writeBehind,
        outboxWhenMongoDown: byMongo || byPostgres,
        acceptLostOutbox: whether('acceptLostOutbox'),
        outboxLimit: optional(section.outboxLimit, DEFAULT_OUTBOX_LIMIT, (value) =>
          integer(at('outboxLimit'), value, 1, 2 ** 40, 'bytes'),
        ),
        queue: writeBehind && queue !== undefined,
      },
    },
    sources,
    notes,
    { redis: redis.fields, mongodb: mongodb?.fields, postgres: postgres?.fields },
    queue,
  );
}

/** The options of a hook and of its section, and the sources of those that may stand in either. */
function sectionOf(
  name: 'redis' | 'mongodb' | 'postgres' | 'hybrid',
  options: unknown,
  known: readonly string[],
  also: readonly string[],
): { own: Record<string, unknown>; section: Record<string, unknown>; sources: OptionSources } {
  const own = fields('', options, [name, 'sessionId', 'fencingToken', ...SERVER], SECTIONS);
  if (own[name] === undefined || own[name] === null) {
    throw refuse(name, 'an object', own[name]);
  }
  const section = fields(name, own[name], known, also);
  return {
    own,
    section,
    sources: [
      { path: '', options: own },
      { path: name, options: section },
    ],
  };
}

function sessionOf(own: Record<string, unknown>): { sessionId: string; fencingToken: number | undefined } {
  return {
    sessionId: resolveSessionId(own.sessionId),
    fencingToken: resolveFencingToken(own.fencingToken),
  };
}
