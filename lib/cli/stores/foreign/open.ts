import { type ForeignAddress, sessionOf } from './address.js';
import { FazerSessions } from './fazer.js';
import { LuoarchMongoSessions } from './luoarch/mongo.js';
import { LuoarchRedisSessions } from './luoarch/redis.js';
import { MongoBaileysSessions } from './mongo-baileys.js';
import { RedisAuthSessions } from './redis-auth.js';
import type { SourceSessions, SourceSettings } from './source.js';
import { SqliteSessions } from './sqlite.js';

/** Opens another library's store to read it. */
export async function openForeign(address: ForeignAddress, given: SourceSettings): Promise<SourceSessions> {
  const store = await open(address, { ...given, warn: once(given.warn) });
  store.lookedFor = sessionOf(address.library);
  return store;
}

async function open(address: ForeignAddress, settings: SourceSettings): Promise<SourceSessions> {
  switch (address.library) {
    case 'sqlite':
      return await SqliteSessions.open(address, settings);
    case 'baileys-redis-auth':
      return await RedisAuthSessions.open(address, settings);
    case 'fazer':
      return await FazerSessions.open(address, settings);
    case 'luoarch-redis':
      return await LuoarchRedisSessions.open(address, settings);
    case 'luoarch-mongodb':
      return await LuoarchMongoSessions.open(address, settings);
    case 'mongo-baileys':
      return await MongoBaileysSessions.open(address, settings);
  }
}

/** A session is read more than once before it is copied, and must not say the same as often. */
function once(warn: (text: string) => void): (text: string) => void {
  const said = new Set<string>();
  return (text) => {
    if (!said.has(text)) {
      said.add(text);
      warn(text);
    }
  };
}
