import type { LogSink } from '../options/logger.js';

const DAY = 86_400_000;
/** Milliseconds before a storage that did not answer is asked again. */
const PATIENCE = 60_000;

/** Warns once when the master key is older than it should be. Its age is what the storage says: processes end. */
export class RotationReminder {
  private due: number | undefined;
  private asking = false;
  private askAgainAt = 0;

  /** @param firstSeen asks the storage when the key was first seen there; null if there is no key */
  constructor(
    private readonly days: number,
    private readonly firstSeen: () => Promise<number | null>,
    private readonly log: LogSink,
  ) {
    if (days === 0) {
      this.due = Number.POSITIVE_INFINITY;
    }
  }

  /** Costs nothing once the storage has answered. */
  remind(): void {
    if (this.due === undefined) {
      void this.ask();
    } else if (Date.now() >= this.due) {
      this.due = Number.POSITIVE_INFINITY;
      this.log('warn', 'the master key is due for rotation', { keyRotationDays: this.days });
    }
  }

  private async ask(): Promise<void> {
    if (this.asking || Date.now() < this.askAgainAt) {
      return;
    }
    this.asking = true;
    try {
      const seen = await this.firstSeen();
      this.due = seen === null ? Number.POSITIVE_INFINITY : seen + this.days * DAY;
      this.remind();
    } catch (error) {
      // Nothing depends on it: what a server that is away means is told by whoever needs it.
      this.askAgainAt = Date.now() + PATIENCE;
      this.log('debug', 'the age of the master key could not be read', { error: String(error) });
    } finally {
      this.asking = false;
    }
  }
}
