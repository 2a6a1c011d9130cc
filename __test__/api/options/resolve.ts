/** Options of each hook with what it cannot do without. */
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { ConfigError } from '../../../lib/errors.js';
import { resolveFolder } from '../../../lib/options/embedded.js';
import {
  resolveHybridHook,
  resolveMongoHook,
  resolvePostgresHook,
  resolveRedisHook,
} from '../../../lib/options/servers.js';

export const KEY = '0123456789abcdef'.repeat(4);
export const OTHER_KEY = 'f'.repeat(64);
export const REDIS = 'redis://localhost:6379';
export const MONGO = 'mongodb://localhost:27017';
export const POSTGRES = 'postgres://localhost:5432';

export const redis = (options: object = {}, section: object = {}) =>
  resolveRedisHook({ sessionId: 's', redis: { redisUrl: REDIS, ...section }, ...options });
export const mongo = (options: object = {}, section: object = {}) =>
  resolveMongoHook({ sessionId: 's', mongodb: { mongoUrl: MONGO, ...section }, ...options });
export const postgres = (options: object = {}, section: object = {}) =>
  resolvePostgresHook({ sessionId: 's', postgres: { postgresUrl: POSTGRES, ...section }, ...options });
export const hybrid = (section: object = {}, options: object = {}) =>
  resolveHybridHook({ sessionId: 's', hybrid: { redisUrl: REDIS, mongoUrl: MONGO, ...section }, ...options });
export const folder = (options: object = {}) => resolveFolder('./somewhere', options);

/** The ConfigError that `work` throws. */
export function refused(work: () => unknown): ConfigError {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof ConfigError, inspect(error));
    assert.equal(error.code, 'CONFIG_INVALID');
    assert.equal(error.retryable, false);
    return error;
  }
  assert.fail('expected a ConfigError');
}
