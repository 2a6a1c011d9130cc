/**
 * `baileys-api` of fazer-ai: a hash `@baileys-api:connections:<phone>:authState` for each session, with the records of Baileys
 * under `creds` and `<type>-<id>`, and fields of its own.
 */
import { SessionBusyError } from '../../../errors.js';
import { escapePattern, type ForeignRedis } from '../../../native/foreign/redis.js';
import type { StoredSession } from '../store.js';
import type { ForeignAddress } from './address.js';
import { readHash } from './named-records.js';
import type { OnDamage } from './records.js';
import { openRedis } from './redis-server.js';
import { RecordwiseSessions, type SourceSettings } from './source.js';

const BEFORE = '@baileys-api:connections:';
const BEHIND = ':authState';
const LEASE = '@baileys-api:cluster:lease:';
/** What the program wants to know of a connection, and private keys that it tries one after the other. */
const ITS_OWN = ['metadata', 'import-candidates'];

export class FazerSessions extends RecordwiseSessions {
  protected override readonly isAtomic = true;

  private constructor(
    readonly shown: string,
    private readonly redis: ForeignRedis,
    private readonly prefix: string,
    private readonly only: string | undefined,
    private readonly warn: (text: string) => void,
  ) {
    super();
  }

  static async open(address: ForeignAddress, settings: SourceSettings): Promise<FazerSessions> {
    const { keyPrefix = '', session } = address.choices;
    const redis = await openRedis(address, settings);
    return new FazerSessions(address.shown, redis, keyPrefix, session, settings.warn);
  }

  async list(): Promise<string[]> {
    const before = `${this.prefix}${BEFORE}`;
    const pattern = `${escapePattern(before)}${this.only === undefined ? '*' : escapePattern(this.only)}${BEHIND}`;
    const found = new Set<string>();
    for await (const key of this.redis.scan(pattern)) {
      found.add(key.toString('utf8').slice(before.length, -BEHIND.length));
    }
    return [...found].sort();
  }

  protected async readAll(sessionId: string, onDamage: OnDamage): Promise<StoredSession | undefined> {
    const key = `${this.prefix}${BEFORE}${sessionId}${BEHIND}`;
    const place = { sessionId, shown: this.shown };
    return await readHash(this.redis, key, place, { ignored: ITS_OWN, warn: this.warn }, onDamage);
  }

  /** A lease ends by itself when its owner does. */
  async ensureFree(sessionId: string): Promise<void> {
    const lease = `${this.prefix}${LEASE}${sessionId}`;
    if ((await this.redis.type(lease)) !== 'none') {
      throw new SessionBusyError(
        `${JSON.stringify(sessionId)} in ${this.shown} is held by a process of baileys-api (${lease}): stop it first`,
        { layer: 'import', sessionId },
      );
    }
  }

  override async hold<T>(
    sessionId: string,
    work: (session: StoredSession | undefined) => Promise<T>,
  ): Promise<T> {
    await this.ensureFree(sessionId);
    return await super.hold(sessionId, work);
  }

  close(): Promise<void> {
    return this.redis.close();
  }
}
