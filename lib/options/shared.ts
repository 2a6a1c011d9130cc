import type { StorageError } from '../errors.js';
import { callback, flag, integer, oneOf, optional, pick, refuse, text } from './check.js';
import { DEFAULT_DURABILITY, DEFAULT_OPEN_TIMEOUT } from './defaults.js';
import { type ObservabilitySettings, resolveObservability, resolveResilience, resolveTtl } from './limits.js';
import { type LogSink, logSink } from './logger.js';
import type { MongoLocation } from './mongo-location.js';
import type { PostgresLocation } from './postgres-location.js';
import type { RedisLocation } from './redis-location.js';
import { type Notes, notices, type ServerFields } from './section.js';
import { type OptionSources, resolveSecurity, type SecuritySettings } from './security.js';
import type { QueueAdapter } from './types.js';

/** Names of the options that every hook takes, and its section too. */
export const SHARED = [
  'masterKey',
  'previousMasterKeys',
  'security',
  'enableEncryption',
  'enableCompression',
  'resilience',
  'observability',
  'openTimeout',
  'exclusive',
  'onLeaseLost',
  'cacheBytes',
  'logger',
  'baileys',
] as const;

/** Names of the options that hooks of servers take beside them. */
export const SERVER = [...SHARED, 'ttl', 'enableTls'] as const;

/** Sections of the hooks: one object may serve several of them. */
export const SECTIONS = ['redis', 'mongodb', 'postgres', 'hybrid', 'embedded'] as const;

/** Where a store keeps its data; the part of its configuration that is its own. */
export type BackendConfig =
  | { backend: 'embedded'; embedded: { folder: string; durability: 'process' | 'full' } }
  | { backend: 'redis'; redis: RedisLocation }
  | { backend: 'mongodb'; mongodb: MongoLocation }
  | { backend: 'postgres'; postgres: PostgresLocation }
  | {
      backend: 'hybrid';
      redis: RedisLocation;
      /** One of the two is there. */
      mongodb?: MongoLocation;
      postgres?: PostgresLocation;
      hybrid: {
        writeBehind: boolean;
        outboxWhenMongoDown: boolean;
        acceptLostOutbox: boolean;
        outboxLimit: number;
        queue: boolean;
      };
    };

/** A store's checked options. */
export interface StoreSettings {
  /** What the core opens the store with; holds no key. */
  config: BackendConfig & Record<string, unknown>;
  security: SecuritySettings;
  observability: ObservabilitySettings;
  openTimeout: number;
  onLeaseLost: ((error: StorageError) => void) | undefined;
  baileys: unknown;
  log: LogSink;
  queue: QueueAdapter | undefined;
  /** What is logged once about the program's options. */
  notices: string[];
  /** Which options a server's refusals are about. */
  fields: {
    redis?: ServerFields | undefined;
    mongodb?: ServerFields | undefined;
    postgres?: ServerFields | undefined;
  };
}

/** Everything but where the data is. */
export function resolveStore(
  backend: BackendConfig,
  sources: OptionSources,
  notes: Notes = { idle: [], warnings: [] },
  serverFields: StoreSettings['fields'] = {},
  queue: QueueAdapter | undefined = undefined,
): StoreSettings {
  const security = resolveSecurity(sources);
  const observability = resolveObservability(sources);
  const { ttl, lease } = resolveTtl(sources);
  const openTimeout = pick('openTimeout', sources);
  const exclusive = pick('exclusive', sources);
  const onLeaseLost = pick('onLeaseLost', sources);
  const cacheBytes = pick('cacheBytes', sources);
  const logger = pick('logger', sources);
  const ownLogger = logger.value ?? security.logger;
  const openTimeoutMs = optional(openTimeout.value, DEFAULT_OPEN_TIMEOUT, (value) =>
    integer(openTimeout.field, value, 0, 86_400_000, 'milliseconds'),
  );
  return {
    // Not spread: V8 takes eight microseconds to copy a few fields, and each session of a program comes by here.
    config: Object.assign(
      {
        resilience: resolveResilience(sources),
        security: {
          encryption: security.encryption,
          compression: security.compression,
          acceptPlain: security.acceptPlain,
        },
        ttl,
        lease,
        openTimeout: openTimeoutMs,
        exclusive: optional(exclusive.value, true, (value) => flag(exclusive.field, value)),
        cacheBytes: optional(cacheBytes.value, undefined, (value) =>
          integer(cacheBytes.field, value, 0, 2 ** 40, 'bytes'),
        ),
      },
      backend,
    ),
    security,
    observability,
    openTimeout: openTimeoutMs,
    onLeaseLost: optional(
      onLeaseLost.value,
      undefined,
      (value) => callback(onLeaseLost.field, value) as (error: StorageError) => void,
    ),
    baileys: resolveBaileys(sources),
    log: logSink(
      logger.value === undefined ? 'security.logger' : logger.field,
      ownLogger,
      security.debug || observability.debug,
    ),
    queue,
    notices: notices(notes),
    fields: serverFields,
  };
}

function resolveBaileys(sources: OptionSources): unknown {
  // Not through `pick`: comparing two module namespaces deeply would walk all of Baileys.
  for (const { options } of sources) {
    if (options.baileys !== undefined) {
      return options.baileys;
    }
  }
  return undefined;
}

/** @throws ConfigError */
export function resolveSessionId(value: unknown): string {
  return text('sessionId', value);
}

/** @throws ConfigError */
export function resolveFencingToken(value: unknown): number | undefined {
  return optional(value, undefined, (token) =>
    integer('fencingToken', token, 0, Number.MAX_SAFE_INTEGER, 'the owner'),
  );
}

export function resolveDurability(value: unknown): 'process' | 'full' {
  return optional(value, DEFAULT_DURABILITY, (found) => oneOf('durability', found, ['process', 'full']));
}

export function resolveQueue(field: string, value: unknown): QueueAdapter {
  const { add, close } = fieldsOf(field, value);
  callback(`${field}.add`, add);
  callback(`${field}.close`, close);
  return value as QueueAdapter;
}

function fieldsOf(field: string, value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) {
    throw refuse(field, 'an object with add and close', value);
  }
  return value as Record<string, unknown>;
}
