/**
 * `@luoarch/baileys-store-core` in Redis: `baileys:auth:<session>:creds`, `…:keys` (all keys) and `…:meta` (the version), each
 * with a time to live of its own, 24 hours unless the program says otherwise. In its hybrid mode this is what counts: MongoDB
 * follows, and may be behind.
 */
import { escapePattern, type ForeignRedis } from '../../../../native/foreign/redis.js';
import type { StoredSession } from '../../store.js';
import type { ForeignAddress } from '../address.js';
import { damaged, readJsonValue, type SourcePlace } from '../records.js';
import { openRedis } from '../redis-server.js';
import { SourceSessions, type SourceSettings } from '../source.js';
import { allKeys, keyIdOf, notOpened, unpack, unseal } from './sealed.js';
import { object, type Parts, recordsOfParts } from './session.js';

const BEFORE = 'baileys:auth:';
const KEY = /^baileys:auth:(.+):(creds|keys|meta)$/s;
/** The id of the key of what is not sealed, and of what was sealed before keys had ids. */
const NOT_SEALED = 'none';
const ANY_KEY = 'auto';

export class LuoarchRedisSessions extends SourceSessions {
  private constructor(
    readonly shown: string,
    private readonly redis: ForeignRedis,
    private readonly keys: readonly Buffer[],
    private readonly only: string | undefined,
  ) {
    super();
  }

  static async open(address: ForeignAddress, settings: SourceSettings): Promise<LuoarchRedisSessions> {
    const redis = await openRedis(address, settings);
    return new LuoarchRedisSessions(address.shown, redis, allKeys(settings.keys), address.choices.session);
  }

  async list(): Promise<string[]> {
    const { only } = this;
    const found = new Set<string>();
    for await (const key of this.redis.scan(`${BEFORE}${only === undefined ? '*' : escapePattern(only)}:*`)) {
      const sessionId = KEY.exec(key.toString('utf8'))?.[1];
      if (sessionId !== undefined && (only === undefined || sessionId === only)) {
        found.add(sessionId);
      }
    }
    return [...found].sort();
  }

  override async exists(sessionId: string): Promise<boolean> {
    return (await this.stored(sessionId)).some((value) => value !== null);
  }

  async read(sessionId: string): Promise<StoredSession | undefined> {
    const [creds, keys, meta] = await this.stored(sessionId);
    if (creds === null && keys === null && meta === null) {
      return undefined;
    }
    const place = { sessionId, shown: this.shown };
    const parts: Parts = { creds: undefined, keys: undefined, appState: undefined };
    const names = { creds: nameOf(sessionId, 'creds'), keys: nameOf(sessionId, 'keys') };
    if (creds) {
      const { creds: value } = this.value(place, names.creds, creds);
      parts.creds = { name: names.creds, value };
    }
    if (keys) {
      const { keys: value, appState } = this.value(place, names.keys, keys);
      parts.keys = { name: names.keys, value };
      parts.appState = { name: names.keys, value: appState };
    }
    const records = recordsOfParts(place, parts, names);
    return { records, ...(meta && versionOf(place, nameOf(sessionId, 'meta'), meta)) };
  }

  close(): Promise<void> {
    return this.redis.close();
  }

  private async stored(sessionId: string): Promise<readonly (Buffer | null)[]> {
    if (this.only !== undefined && sessionId !== this.only) {
      return [null, null, null];
    }
    return await this.redis.mget(['creds', 'keys', 'meta'].map((part) => nameOf(sessionId, part)));
  }

  private value(place: SourcePlace, name: string, stored: Buffer): Record<string, unknown> {
    const { ciphertext, nonce, keyId } = object(place, name, readJsonValue(place, name, stored));
    if (typeof ciphertext !== 'string' || typeof nonce !== 'string' || typeof keyId !== 'string') {
      throw damaged(place, name, 'expected ciphertext, nonce and keyId, each a text');
    }
    const bytes = Buffer.from(ciphertext, 'base64');
    const plain = keyId === NOT_SEALED ? bytes : this.unsealed(place, name, keyId, nonce, bytes);
    return object(place, name, unpack(place, name, plain));
  }

  private unsealed(place: SourcePlace, name: string, keyId: string, nonce: string, sealed: Buffer): Buffer {
    const { keys } = this;
    const fitting = keyId === ANY_KEY ? keys : keys.filter((key) => keyIdOf(key) === keyId);
    for (const key of fitting) {
      const plain = unseal(key, Buffer.from(nonce, 'base64'), sealed);
      if (plain !== undefined) {
        return plain;
      }
    }
    if (fitting.length > 0 && keyId !== ANY_KEY) {
      throw damaged(place, name, 'it was changed since it was sealed, or is not whole');
    }
    throw notOpened(place, name, keys, keyId);
  }
}

const nameOf = (sessionId: string, part: string): string => `${BEFORE}${sessionId}:${part}`;

function versionOf(place: SourcePlace, name: string, meta: Buffer): { version?: number; updatedAt?: number } {
  const { version, updatedAt } = object(place, name, readJsonValue(place, name, meta));
  const at = typeof updatedAt === 'string' ? Date.parse(updatedAt) : Number.NaN;
  return {
    ...(typeof version === 'number' && { version }),
    ...(Number.isFinite(at) && { updatedAt: at }),
  };
}
