import { ForeignRedis } from '../../../native/foreign/redis.js';
import { redisLocation } from '../../../options/redis-location.js';
import type { ForeignAddress } from './address.js';
import type { SourceSettings } from './source.js';

/** Connects to the server of an address, by the rules for URLs and certificates that our own stores have. */
export async function openRedis(
  { place, tls }: ForeignAddress,
  { timeout, warn }: SourceSettings,
): Promise<ForeignRedis> {
  const notes = { idle: [], warnings: [] };
  const { location } = redisLocation('', { redisUrl: place, tls }, false, [], notes);
  for (const warning of [...notes.warnings, ...notes.idle]) {
    warn(warning);
  }
  return await ForeignRedis.open({ redisUrl: location.url, tls: location.tls, timeout });
}
