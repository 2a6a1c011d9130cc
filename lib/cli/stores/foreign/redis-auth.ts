/**
 * `baileys-redis-auth`. Of a session it makes, by its release and by the function that a program calls:
 *
 * - a hash `<session>:auth` (`useRedisAuthStateWithHSet` since 1.1), whose fields are named like the files of Baileys;
 * - a hash `authState:<session>` (the same before);
 * - keys `<session>:creds` and `<session>:<type>-<id>` (`useRedisAuthState`).
 */
import { recordNamesOf } from '../../../import/file-names.js';
import { escapePattern, type ForeignRedis } from '../../../native/foreign/redis.js';
import { usage } from '../../errors.js';
import type { StoredSession } from '../store.js';
import type { ForeignAddress } from './address.js';
import { CREDS_NAME, jsonValue, type NamedValue, readHash, recordsOfNames } from './named-records.js';
import type { OnDamage } from './records.js';
import { openRedis } from './redis-server.js';
import { RecordwiseSessions, type SourceSettings } from './source.js';

const HASH = /^(.+):auth$/s;
const OLD_HASH = /^authState:(.+)$/s;
/** Values that are asked for at a time. */
const AT_ONCE = 500;

type Layout = 'hash' | 'keys';

/** Where the parts of a session are. */
interface Found {
  hashes: string[];
  /** Behind the session's name and a colon; as bytes of latin1, which keep names that are no UTF-8. */
  names: string[];
}

export class RedisAuthSessions extends RecordwiseSessions {
  /** What is where. It is looked for once: a walk over all keys for each session would never end. */
  private found: Promise<ReadonlyMap<string, Found>> | undefined;

  private constructor(
    readonly shown: string,
    private readonly redis: ForeignRedis,
    private readonly prefix: string,
    private readonly only: string | undefined,
    private readonly layout: Layout | undefined,
    private readonly warn: (text: string) => void,
  ) {
    super();
  }

  static async open(address: ForeignAddress, settings: SourceSettings): Promise<RedisAuthSessions> {
    const { keyPrefix = '', session, layout } = address.choices;
    if (layout !== undefined && layout !== 'hash' && layout !== 'keys') {
      throw usage(`layout: expected hash or keys, got ${layout}`);
    }
    const redis = await openRedis(address, settings);
    return new RedisAuthSessions(address.shown, redis, keyPrefix, session, layout, settings.warn);
  }

  async list(): Promise<string[]> {
    return [...(await this.sessions()).keys()].sort();
  }

  protected async readAll(sessionId: string, onDamage: OnDamage): Promise<StoredSession | undefined> {
    const found = (await this.sessions()).get(sessionId);
    if (found === undefined) {
      return undefined;
    }
    const { hashes, names } = found;
    const place = { sessionId, shown: this.shown };
    if (hashes.length + (names.length > 0 ? 1 : 0) > 1) {
      const places = [...hashes, ...(names.length > 0 ? [`${sessionId}:${CREDS_NAME}`] : [])];
      throw usage(
        `${JSON.stringify(sessionId)} is there more than once: ${places.join(', ')}`,
        hashes.length > 1
          ? 'Delete the one that no bot uses.'
          : 'Say which one the bot uses: layout=hash or layout=keys in the query.',
      );
    }
    const [hash] = hashes;
    if (hash !== undefined) {
      return await readHash(this.redis, this.prefix + hash, place, { warn: this.warn }, onDamage);
    }
    const keyOf = (name: string): string => `${this.prefix}${sessionId}:${name}`;
    const values: NamedValue[] = [];
    for (let at = 0; at < names.length; at += AT_ONCE) {
      const some = names.slice(at, at + AT_ONCE);
      const before = Buffer.from(keyOf(''));
      const keys = some.map((name) => Buffer.concat([before, Buffer.from(name, 'latin1')]));
      for (const [index, bytes] of (await this.redis.mget(keys)).entries()) {
        if (bytes !== null) {
          const name = utf8(some[index] as string);
          values.push(jsonValue(place, name, keyOf(name), bytes));
        }
      }
    }
    const records = recordsOfNames(place, values, { keyOf, warn: this.warn }, onDamage);
    return records && { records };
  }

  close(): Promise<void> {
    return this.redis.close();
  }

  private sessions(): Promise<ReadonlyMap<string, Found>> {
    this.found ??= this.find();
    return this.found;
  }

  private async find(): Promise<ReadonlyMap<string, Found>> {
    const found = new Map<string, Found>();
    const of = (sessionId: string): Found => {
      const known = found.get(sessionId) ?? { hashes: [], names: [] };
      found.set(sessionId, known);
      return known;
    };
    const { layout } = this;
    /** Keys of types that are not known, until all sessions are. */
    const unknown: string[] = [];
    for await (const key of this.keys()) {
      const hash = layout === 'keys' ? undefined : (HASH.exec(key) ?? OLD_HASH.exec(key))?.[1];
      if (hash !== undefined && (await this.redis.type(this.bytesOf(key))) === 'hash') {
        const { hashes } = of(utf8(hash));
        if (!hashes.includes(utf8(key))) {
          hashes.push(utf8(key));
        }
      } else if (layout !== 'hash') {
        const at = startOfName(key);
        if (at === undefined) {
          unknown.push(key);
        } else {
          of(utf8(key.slice(0, at - 1))).names.push(key.slice(at));
        }
      }
    }
    for (const key of unknown) {
      for (let at = key.lastIndexOf(':'); at > 0; at = key.lastIndexOf(':', at - 1)) {
        const owner = found.get(utf8(key.slice(0, at)));
        if (owner !== undefined && owner.names.length > 0) {
          // What is no text is nobody's record: a hash of another layout, or the program's own.
          if ((await this.redis.type(this.bytesOf(key))) === 'string') {
            owner.names.push(key.slice(at + 1));
          }
          break;
        }
      }
    }
    for (const { names } of found.values()) {
      // One may have come twice.
      names.splice(0, names.length, ...new Set(names));
    }
    return new Map([...found].filter(([name]) => this.only === undefined || name === this.only));
  }

  /** All keys that may be of a session, without the prefix, as latin1. */
  private async *keys(): AsyncGenerator<string> {
    const { prefix, only } = this;
    const before = escapePattern(prefix);
    const patterns =
      only === undefined
        ? [`${before}*:*`]
        : [`${before}${escapePattern(only)}:*`, `${before}authState:${escapePattern(only)}`];
    const length = Buffer.byteLength(prefix);
    for (const pattern of patterns) {
      for await (const key of this.redis.scan(pattern)) {
        yield key.toString('latin1', length);
      }
    }
  }

  private bytesOf(key: string): Buffer {
    return Buffer.concat([Buffer.from(this.prefix), Buffer.from(key, 'latin1')]);
  }
}

const utf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8');

/** Where the record's name begins in `<session>:<name>`; undefined if it is of no type that is known. */
function startOfName(key: string): number | undefined {
  for (let at = key.indexOf(':') + 1; at > 0; at = key.indexOf(':', at) + 1) {
    const name = key.slice(at);
    if (at > 1 && (name === CREDS_NAME || recordNamesOf(name).known)) {
      return at;
    }
  }
  return undefined;
}
