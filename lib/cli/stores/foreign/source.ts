import type { RecordEntry } from '../../../codec/index.js';
import { type CorruptRecordError, SessionBusyError } from '../../../errors.js';
import { differences, digestsOf } from '../../digest.js';
import { CliError } from '../../errors.js';
import type { Keys } from '../../keys.js';
import type { SessionStore, StoredSession } from '../store.js';
import { type DamageKind, type OnDamage, refuseDamage } from './records.js';

/** What a command was told about a store. */
export interface SourceSettings {
  keys: Keys;
  /** Milliseconds to wait for a server, and for whoever has locked a file. */
  timeout: number;
  warn(text: string): void;
}

/** What an examination finds of a session, before it looks at the records themselves. */
export interface Inspected {
  records: RecordEntry[];
  damage: { kind: DamageKind; error: CorruptRecordError }[];
}

export const sourceOnly = (shown: string): CliError =>
  new CliError(
    'SOURCE_ONLY',
    `${shown} is a store of another library, which is only read`,
    'Copy from it to a store of Baileys Vault. To go back to Baileys itself there is: export --to multi-file:<folder>',
  );

/** A store of another library, whose sessions can be read and copied. Nothing here writes to it. */
export abstract class SourceSessions implements SessionStore {
  abstract readonly shown: string;
  /** See `SessionStore`; set when it is opened. */
  lookedFor?: string;
  /** Whether all of a session is read as it was at one moment. */
  protected readonly isAtomic: boolean = false;

  abstract list(): Promise<string[]>;

  /**
   * All of a session that is stored now, however often it is asked; undefined if there is none. Keys without creds are
   * damage, and not "no session".
   *
   * @throws CorruptRecordError naming the first that cannot be read
   */
  abstract read(sessionId: string): Promise<StoredSession | undefined>;

  /** All that can be read of a session, and what cannot. */
  async inspect(sessionId: string): Promise<Inspected | undefined> {
    const found = await this.read(sessionId);
    return found && { records: found.records, damage: [] };
  }

  abstract close(): Promise<void>;

  async exists(sessionId: string): Promise<boolean> {
    return (await this.list()).includes(sessionId);
  }

  /**
   * Few such stores have locks, so that a bot which runs shows only by what it changes meanwhile. The session is read
   * twice before `work` begins, unless that is at one moment, and once more when it has ended.
   */
  async hold<T>(sessionId: string, work: (session: StoredSession | undefined) => Promise<T>): Promise<T> {
    const before = await this.read(sessionId);
    if (!this.isAtomic) {
      await this.refuseChanged(sessionId, before);
    }
    const result = await work(before);
    await this.refuseChanged(sessionId, before);
    return result;
  }

  private async refuseChanged(sessionId: string, before: StoredSession | undefined): Promise<void> {
    const now = await this.read(sessionId);
    const changed = differences(digestsOf(before?.records ?? []), digestsOf(now?.records ?? []));
    if (changed.length > 0) {
      throw new SessionBusyError(
        `${JSON.stringify(sessionId)} in ${this.shown} was changed while it was read (${changed.join(', ')}): a bot has it open`,
        { layer: 'import', sessionId },
      );
    }
  }

  async create(): Promise<never> {
    throw sourceOnly(this.shown);
  }

  async readBack(): Promise<never> {
    throw sourceOnly(this.shown);
  }

  async verify(): Promise<void> {}
}

/** A source whose records are stored one by one, so that a damaged one leaves the others to be read. */
export abstract class RecordwiseSessions extends SourceSessions {
  protected abstract readAll(sessionId: string, onDamage: OnDamage): Promise<StoredSession | undefined>;

  read(sessionId: string): Promise<StoredSession | undefined> {
    return this.readAll(sessionId, refuseDamage);
  }

  override async inspect(sessionId: string): Promise<Inspected | undefined> {
    const damage: Inspected['damage'] = [];
    const found = await this.readAll(sessionId, (kind, error) => damage.push({ kind, error }));
    return found && { records: found.records, damage };
  }
}
