import { ConfigError } from '../errors.js';

const NO_CACHE =
  'there is no document cache: records are cached by their owner, which keeps them right by itself';

/** Methods of the stores of `@luoarch/baileys-store-core` that cannot be kept, each with the reason. */
const REFUSED = {
  getClient: 'there is no ioredis client: connect one of your own',
  setCache: NO_CACHE,
  invalidateCache: NO_CACHE,
  cleanupCache: NO_CACHE,
  resetMetrics: 'metrics are cumulative and cannot be reset',
} as const;

/** @throws ConfigError always */
export function refuseMethod(name: keyof typeof REFUSED): never {
  throw new ConfigError(`store.${name}`, REFUSED[name]);
}
