import { ConfigError } from '../errors.js';
import { decimal, fields, flag, integer, join, optional, pick, refuse } from './check.js';
import {
  DEFAULT_BREAKER,
  DEFAULT_LEASE,
  DEFAULT_OBSERVABILITY_CONFIG,
  DEFAULT_RESILIENCE_CONFIG,
} from './defaults.js';
import type { OptionSources } from './security.js';

const HOUR = 3_600_000;
/** Seconds; a hundred years, so that a date computed from it stays valid everywhere. */
const MAX_TTL = 3_155_760_000;

interface ResilienceSettings {
  operationTimeout: number;
  maxRetries: number;
  retryBaseDelay: number;
  retryMultiplier: number;
  breaker: { errorThreshold: number; window: number; coolDown: number };
}

export function resolveResilience(sources: OptionSources): ResilienceSettings {
  const { field, value } = pick('resilience', sources);
  const given = fields(field, value, [
    'operationTimeout',
    'maxRetries',
    'retryBaseDelay',
    'retryMultiplier',
    'breaker',
  ]);
  const breakerField = join(field, 'breaker');
  const breaker = fields(breakerField, given.breaker, ['errorThreshold', 'window', 'coolDown']);
  const ms = (
    path: string,
    name: string,
    options: Record<string, unknown>,
    otherwise: number,
    min = 1,
  ): number =>
    optional(options[name], otherwise, (found) =>
      integer(join(path, name), found, min, HOUR, 'milliseconds'),
    );
  const defaults = DEFAULT_RESILIENCE_CONFIG;
  return {
    operationTimeout: ms(field, 'operationTimeout', given, defaults.operationTimeout),
    maxRetries: optional(given.maxRetries, defaults.maxRetries, (found) =>
      integer(join(field, 'maxRetries'), found, 0, 100, 'retries'),
    ),
    retryBaseDelay: ms(field, 'retryBaseDelay', given, defaults.retryBaseDelay, 0),
    retryMultiplier: optional(given.retryMultiplier, defaults.retryMultiplier, (found) =>
      decimal(join(field, 'retryMultiplier'), found, 1, 100),
    ),
    breaker: {
      errorThreshold: optional(breaker.errorThreshold, DEFAULT_BREAKER.errorThreshold, (found) =>
        decimal(join(breakerField, 'errorThreshold'), found, 0.01, 1),
      ),
      window: ms(breakerField, 'window', breaker, DEFAULT_BREAKER.window),
      coolDown: ms(breakerField, 'coolDown', breaker, DEFAULT_BREAKER.coolDown),
    },
  };
}

interface TtlSettings {
  /** Seconds that a session lives, null for ever. */
  ttl: number | null;
  /** Milliseconds that a lease lives. */
  lease: number;
}

/** @throws ConfigError, also when creds and keys would expire apart */
export function resolveTtl(sources: OptionSources): TtlSettings {
  let ttl: { field: string; seconds: number } | undefined;
  let lease: { field: string; seconds: number } | undefined;
  const settle = (
    known: typeof ttl,
    field: string,
    seconds: number | undefined,
  ): { field: string; seconds: number } | undefined => {
    if (seconds === undefined || known === undefined) {
      return seconds === undefined ? known : { field, seconds };
    }
    if (known.seconds !== seconds) {
      throw new ConfigError(field, `differs from ${known.field}; give it in one place`);
    }
    return known;
  };
  for (const { path, options } of sources) {
    const field = join(path, 'ttl');
    if (options.ttl === undefined) {
      continue;
    }
    const found = readTtl(field, options.ttl);
    ttl = settle(ttl, field, found.ttl);
    lease = settle(lease, join(field, 'lockTtl'), found.lock);
  }
  return { ttl: ttl?.seconds ?? null, lease: lease === undefined ? DEFAULT_LEASE : lease.seconds * 1000 };
}

function readTtl(field: string, value: unknown): { ttl?: number | undefined; lock?: number | undefined } {
  if (typeof value === 'number') {
    return { ttl: integer(field, value, 1, MAX_TTL, 'seconds') };
  }
  if (typeof value !== 'object') {
    throw refuse(field, 'a number of seconds, or {defaultTtl, credsTtl, keysTtl, lockTtl}', value);
  }
  const given = fields(field, value, ['defaultTtl', 'credsTtl', 'keysTtl', 'lockTtl']);
  const seconds = (name: string, max: number): number | undefined =>
    optional(given[name], undefined, (found) => integer(join(field, name), found, 1, max, 'seconds'));
  const defaultTtl = seconds('defaultTtl', MAX_TTL);
  const creds = seconds('credsTtl', MAX_TTL) ?? defaultTtl;
  const keys = seconds('keysTtl', MAX_TTL) ?? defaultTtl;
  if (creds !== undefined && keys !== undefined && creds !== keys) {
    throw new ConfigError(
      join(field, given.credsTtl === undefined ? 'keysTtl' : 'credsTtl'),
      'creds and keys must expire together, because either without the other breaks the session: ' +
        'give credsTtl and keysTtl the same value, or only defaultTtl',
    );
  }
  return { ttl: creds ?? keys, lock: seconds('lockTtl', 3600) };
}

export interface ObservabilitySettings {
  metrics: boolean;
  debug: boolean;
}

export function resolveObservability(sources: OptionSources): ObservabilitySettings {
  const { field, value } = pick('observability', sources);
  const given = fields(field, value, [
    'enableMetrics',
    'enableTracing',
    'enableDetailedLogs',
    'metricsInterval',
  ]);
  const on = (name: 'enableMetrics' | 'enableTracing' | 'enableDetailedLogs'): boolean =>
    optional(given[name], DEFAULT_OBSERVABILITY_CONFIG[name], (found) => flag(join(field, name), found));
  optional(given.metricsInterval, 0, (found) =>
    integer(join(field, 'metricsInterval'), found, 1, 24 * HOUR, 'milliseconds'),
  );
  if (on('enableTracing')) {
    throw new ConfigError(join(field, 'enableTracing'), 'tracing is not supported: expected false');
  }
  return { metrics: on('enableMetrics'), debug: on('enableDetailedLogs') };
}
