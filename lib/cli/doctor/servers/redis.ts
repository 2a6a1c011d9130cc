/** A store on Redis alone; `docs/internals/redis.md` says how sessions lie there. */
import { escapePattern } from '../../../native/foreign/redis.js';
import { duration } from '../../text.js';
import type { Finding } from '../catalogue.js';
import type { RedisServer } from './connect.js';

const HEAD = /^\d+:(\d+):[0-9a-f]{16}:([t-]):/;

/** Name of a session, as it stands in a key. */
export const inKey = (sessionId: string): string =>
  sessionId.replace(/[{}%]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);

const fromKey = (name: string): string =>
  name.replace(/%(7B|7D|25)/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));

/** Sessions that Redis will remove by itself. */
export async function examineRedis({ redis, prefix }: RedisServer): Promise<Finding[]> {
  const findings: Finding[] = [];
  const before = `${prefix}:{`;
  for await (const key of redis.scan(`${escapePattern(before)}*}`)) {
    const name = key.toString('utf8');
    const left = await redis.ttl(key);
    if (left === null) {
      continue;
    }
    const [, version = '0', flag] = HEAD.exec((await redis.hget(key, '@'))?.toString('latin1') ?? '') ?? [];
    if (version !== '0') {
      const asked = flag === 't' ? '' : ', which no bot asked for';
      findings.push({
        code: 'SESSION_EXPIRES',
        sessionId: fromKey(name.slice(before.length, -1)),
        what: `Redis removes it in ${duration(left / 1000)}${asked}`,
      });
    }
  }
  return findings;
}
