import type { VaultAddress } from '../../stores/vault.js';
import type { Finding } from '../catalogue.js';
import { examineClock } from './clock.js';
import { connectMongo, connectRedis } from './connect.js';
import { examineHybrid } from './hybrid.js';
import { examineMongo } from './mongo.js';
import { examineRedis } from './redis.js';

/** What is wrong with the servers of a store, and with what they hold; reads alone, beside running bots. */
export async function examineServers(address: VaultAddress, timeout: number): Promise<Finding[]> {
  const [redis, mongo] = [await connectRedis(address, timeout), await connectMongo(address, timeout)];
  try {
    const findings = [
      redis && (await examineClock('Redis', redis.redis)),
      mongo && (await examineClock('MongoDB', mongo.mongo)),
      ...(redis !== undefined && address.kind === 'redis' ? await examineRedis(redis) : []),
      ...(mongo === undefined ? [] : await examineMongo(mongo)),
      ...(redis !== undefined && mongo !== undefined ? await examineHybrid(redis, mongo) : []),
    ];
    return findings.filter((finding) => finding !== undefined);
  } finally {
    await Promise.all([redis?.redis.close(), mongo?.mongo.close()]);
  }
}
