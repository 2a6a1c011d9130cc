import { ConfigError } from '../errors.js';
import { type Found, fields, flag, integer, join, optional, pick, refuse, text } from './check.js';
import { DEFAULT_COLLECTION, DEFAULT_DATABASE, DEFAULT_PREFIX } from './defaults.js';
import type { Places } from './security.js';
import {
  type MongoPlace,
  placesOf,
  type RedisPlace,
  resolveFencingToken,
  resolveQueue,
  resolveSessionId,
  resolveStore,
  SERVER,
  type StoreSettings,
} from './shared.js';

const REDIS_URL = /^(redis|rediss|valkey|valkeys|unix)([+-][a-z+-]+)?:\/\/./i;
const MONGO_URL = /^mongodb(\+srv)?:\/\/./i;
const REDIS_URL_SHAPE = 'a URL beginning with redis:// or rediss://';
const MONGO_URL_SHAPE = 'a URL beginning with mongodb:// or mongodb+srv://';
const MAX_PORT = 65_535;

const REDIS_FIELDS = [
  'redisUrl',
  'host',
  'port',
  'password',
  'db',
  'redisHost',
  'redisPort',
  'prefix',
  ...SERVER,
];

const MONGO_FIELDS = [
  'mongoUrl',
  'databaseName',
  'collectionName',
  'database',
  'collection',
  'mongoDatabase',
  'mongoCollection',
  ...SERVER,
];

const HYBRID_FIELDS = [
  'redisUrl',
  'redisHost',
  'redisPort',
  'redisPrefix',
  'mongoUrl',
  'mongoDatabase',
  'mongoCollection',
  'enableWriteBehind',
  'outboxWhenMongoDown',
  'acceptLostOutbox',
  'queue',
  'writeBehindFlushInterval',
  'writeBehindQueueSize',
  ...SERVER,
];

/** A hook's checked options. */
export interface SessionSettings extends StoreSettings {
  sessionId: string;
  fencingToken: number | undefined;
}

/** @throws ConfigError naming the field */
export function resolveRedisHook(options: unknown): SessionSettings {
  const known = ['redis', 'sessionId', 'fencingToken', ...SERVER];
  const { own, section, places } = placesOf('redis', options, known, REDIS_FIELDS);
  requireSection('redis', own.redis);
  return {
    ...resolveStore({ backend: 'redis', redis: redisPlace('redis', section, places) }, places),
    ...sessionOf(own),
  };
}

/** @throws ConfigError naming the field */
export function resolveMongoHook(options: unknown): SessionSettings {
  const known = ['mongodb', 'sessionId', 'fencingToken', ...SERVER];
  const { own, section, places } = placesOf('mongodb', options, known, MONGO_FIELDS);
  requireSection('mongodb', own.mongodb);
  return {
    ...resolveStore({ backend: 'mongodb', mongodb: mongoPlace('mongodb', section, places) }, places),
    ...sessionOf(own),
  };
}

/** @throws ConfigError naming the field */
export function resolveHybridHook(options: unknown): SessionSettings {
  const known = ['hybrid', 'sessionId', 'fencingToken', ...SERVER];
  const { own, section, places } = placesOf('hybrid', options, known, HYBRID_FIELDS);
  requireSection('hybrid', own.hybrid);
  return { ...hybridStore('hybrid', section, places), ...sessionOf(own) };
}

/** A Redis store's own configuration, with what a crypto and codec service add. */
export function resolveRedisStore(config: unknown, services: Record<string, unknown>): StoreSettings {
  const section = fields('config', config, REDIS_FIELDS);
  const places = storePlaces(section, services);
  return resolveStore({ backend: 'redis', redis: redisPlace('config', section, places) }, places);
}

/** A MongoDB store's own configuration, with what a crypto and codec service add. */
export function resolveMongoStore(config: unknown, services: Record<string, unknown>): StoreSettings {
  const section = fields('config', config, MONGO_FIELDS);
  const places = storePlaces(section, services);
  return resolveStore({ backend: 'mongodb', mongodb: mongoPlace('config', section, places) }, places);
}

/** A hybrid store's own configuration, with what a crypto and codec service add. */
export function resolveHybridStore(config: unknown, services: Record<string, unknown>): StoreSettings {
  const section = fields('config', config, HYBRID_FIELDS);
  return hybridStore('config', section, storePlaces(section, services));
}

const storePlaces = (section: Record<string, unknown>, services: Record<string, unknown>): Places => [
  { path: 'config', options: section },
  { path: 'services', options: services },
];

function hybridStore(path: string, section: Record<string, unknown>, places: Places): StoreSettings {
  const at = (name: string): string => join(path, name);
  if (section.writeBehindQueueSize !== undefined) {
    throw new ConfigError(
      at('writeBehindQueueSize'),
      'the outbox has no bound, because an entry is never dropped: leave this option out',
    );
  }
  optional(section.writeBehindFlushInterval, 0, (value) =>
    integer(at('writeBehindFlushInterval'), value, 0, 86_400_000, 'milliseconds'),
  );
  const writeBehind = optional(section.enableWriteBehind, false, (value) =>
    flag(at('enableWriteBehind'), value),
  );
  const queue = optional(section.queue, undefined, (value) => resolveQueue(at('queue'), value));
  const { redisUrl, redisHost, redisPort } = section;
  if (redisUrl === undefined && redisHost === undefined && redisPort === undefined) {
    throw new ConfigError(at('redisUrl'), `expected ${REDIS_URL_SHAPE}, or redisHost and redisPort`);
  }
  return resolveStore(
    {
      backend: 'hybrid',
      redis: redisPlace(path, { ...section, prefix: section.redisPrefix }, places, 'redisPrefix'),
      mongodb: mongoPlace(path, section, places),
      hybrid: {
        writeBehind,
        outboxWhenMongoDown: optional(section.outboxWhenMongoDown, false, (value) =>
          flag(at('outboxWhenMongoDown'), value),
        ),
        acceptLostOutbox: optional(section.acceptLostOutbox, false, (value) =>
          flag(at('acceptLostOutbox'), value),
        ),
        queue: writeBehind && queue !== undefined,
      },
    },
    places,
    queue,
  );
}

function redisPlace(
  path: string,
  section: Record<string, unknown>,
  places: Places,
  prefixName = 'prefix',
): RedisPlace {
  const prefix = optional(section.prefix, DEFAULT_PREFIX, (value) => text(join(path, prefixName), value));
  const host = either(path, section, ['host', 'redisHost']);
  const port = either(path, section, ['port', 'redisPort']);
  const tls = tlsOf(places);
  const given = optional(section.redisUrl, undefined, (value) => redisUrl(join(path, 'redisUrl'), value));
  const parts = {
    host: optional(host.value, undefined, (value) => text(host.field, value)),
    port: optional(port.value, undefined, (value) => integer(port.field, value, 1, MAX_PORT, 'a port')),
    password: optional(section.password, undefined, (value) => text(join(path, 'password'), value)),
    db: optional(section.db, undefined, (value) =>
      integer(join(path, 'db'), value, 0, 1_000_000, 'a database'),
    ),
  };
  if (given === undefined) {
    if (Object.values(parts).every((part) => part === undefined)) {
      throw new ConfigError(join(path, 'redisUrl'), `expected ${REDIS_URL_SHAPE}, or host and port`);
    }
    const { host: name = 'localhost', port: number = 6379, password, db = 0 } = parts;
    const user = password === undefined ? '' : `:${encodeURIComponent(password)}@`;
    const bare = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name;
    return { url: `redis${tls === true ? 's' : ''}://${user}${bare}:${number}/${db}`, prefix };
  }
  const extra = Object.entries(parts).find(([, value]) => value !== undefined);
  if (extra !== undefined) {
    throw new ConfigError(join(path, extra[0]), `cannot be given together with ${join(path, 'redisUrl')}`);
  }
  return { url: withRedisTls(given, tls, places), prefix };
}

function redisUrl(field: string, value: unknown): string {
  if (typeof value !== 'string' || !REDIS_URL.test(value)) {
    throw refuse(field, REDIS_URL_SHAPE, value);
  }
  return value;
}

function withRedisTls(url: string, tls: boolean | undefined, places: Places): string {
  const secure = /^(rediss|valkeys)/i.test(url);
  if (tls === false && secure) {
    throw new ConfigError(pick('enableTls', places).field, 'is false, but the URL asks for TLS');
  }
  return tls === true && !secure ? url.replace(/^(redis|valkey)/i, '$1s') : url;
}

function mongoPlace(path: string, section: Record<string, unknown>, places: Places): MongoPlace {
  const field = join(path, 'mongoUrl');
  const { mongoUrl } = section;
  if (typeof mongoUrl !== 'string' || !MONGO_URL.test(mongoUrl)) {
    throw refuse(field, MONGO_URL_SHAPE, mongoUrl);
  }
  const database = either(path, section, ['databaseName', 'database', 'mongoDatabase']);
  const collection = either(path, section, ['collectionName', 'collection', 'mongoCollection']);
  return {
    url: withMongoTls(mongoUrl, tlsOf(places), places),
    database: optional(database.value, DEFAULT_DATABASE, (value) => text(database.field, value)),
    collection: optional(collection.value, DEFAULT_COLLECTION, (value) => text(collection.field, value)),
  };
}

function withMongoTls(url: string, tls: boolean | undefined, places: Places): string {
  const [base = url, query] = url.split('?', 2);
  const asked = /(?:^|&)(?:tls|ssl)=(true|false)(?:&|$)/i.exec(query ?? '')?.[1]?.toLowerCase();
  if (tls !== undefined && asked !== undefined && asked !== String(tls)) {
    throw new ConfigError(pick('enableTls', places).field, `is ${tls}, but the URL says otherwise`);
  }
  if (tls === undefined || asked !== undefined || (tls === false && !/^mongodb\+srv/i.test(url))) {
    return url;
  }
  // The part after the hosts needs its slash before options may follow.
  const path = /^[^:]+:\/\/[^/]+$/.test(base) ? `${base}/` : base;
  return `${path}?${query === undefined ? '' : `${query}&`}tls=${tls}`;
}

function tlsOf(places: Places): boolean | undefined {
  const { field, value } = pick('enableTls', places);
  return optional(value, undefined, (found) => flag(field, found));
}

/** One option that has several names. */
function either(path: string, section: Record<string, unknown>, names: readonly string[]): Found {
  let found: Found | undefined;
  for (const name of names) {
    const field = join(path, name);
    if (section[name] === undefined) {
      continue;
    }
    if (found !== undefined && found.value !== section[name]) {
      throw new ConfigError(field, `differs from ${found.field}; give it in one place`);
    }
    found ??= { field, value: section[name] };
  }
  return found ?? { field: join(path, names[0] as string), value: undefined };
}

function requireSection(name: string, value: unknown): void {
  if (value === undefined) {
    throw refuse(name, 'an object', value);
  }
}

function sessionOf(own: Record<string, unknown>): { sessionId: string; fencingToken: number | undefined } {
  return {
    sessionId: resolveSessionId(own.sessionId),
    fencingToken: resolveFencingToken(own.fencingToken),
  };
}
