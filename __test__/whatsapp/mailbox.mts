import type { Connection } from './connection.mjs';
import { type BinaryNode, node } from './nodes.mjs';

/** How long the replay of a backlog waits for the client's answers before it is declared handled. */
const REPLAY_TIMEOUT_MS = 20_000;

interface Entry {
  stanza: BinaryNode;
  deliveries: number;
}

/**
 * What one device still has to acknowledge.
 *
 * offline: stanzas pile up. replaying: the backlog goes out marked `offline`, new stanzas wait.
 * live: stanzas go out as they come. Whatever was not answered is sent again at the next login.
 */
export class Mailbox {
  private entries: Entry[] = [];
  private connection: Connection | undefined;
  private live = false;
  private replay: { left: Set<Entry>; done: () => void; timer: NodeJS.Timeout } | undefined;

  /** `onDeliver` is told about every stanza put on the wire, and whether it had been sent before. */
  constructor(private readonly onDeliver: (again: boolean) => void) {}

  get depth(): number {
    return this.entries.length;
  }

  push(stanza: BinaryNode): void {
    const entry = { stanza, deliveries: 0 };
    this.entries.push(entry);
    if (this.live) this.deliver(entry, false);
  }

  /** A receipt or ack came: the oldest stanza of that class and id is settled. */
  settle(tag: string, id: string | undefined): void {
    const at = this.entries.findIndex(({ stanza }) => stanza.tag === tag && stanza.attrs.id === id);
    if (at < 0) return;
    const [entry] = this.entries.splice(at, 1);
    if (entry && this.replay?.left.delete(entry) && this.replay.left.size === 0) this.replay.done();
  }

  /** The device is logged in and asked for its messages: tells it how many wait. */
  attach(connection: Connection): void {
    this.detach();
    this.connection = connection;
    const of = (tag: string) => this.entries.filter(({ stanza }) => stanza.tag === tag).length.toString();
    const waiting = {
      count: this.entries.length.toString(),
      message: of('message'),
      receipt: of('receipt'),
      notification: of('notification'),
      appdata: '0',
    };
    connection.send(node('ib', {}, [node('offline_preview', waiting)]));
  }

  detach(): void {
    if (this.replay) clearTimeout(this.replay.timer);
    this.replay = undefined;
    this.connection = undefined;
    this.live = false;
  }

  /**
   * The client is ready for the backlog. `ib offline` follows when every stanza was answered: sent
   * earlier, it makes Baileys flush its event buffer in mid-backlog and sit on the rest for 30 s.
   */
  startReplay(onLive: () => void): void {
    const { connection } = this;
    if (!connection || this.live || this.replay) return;
    const backlog = [...this.entries];
    const done = () => {
      if (this.connection !== connection || this.live) return;
      if (this.replay) clearTimeout(this.replay.timer);
      this.replay = undefined;
      connection.send(node('ib', {}, [node('offline', { count: backlog.length.toString() })]));
      this.live = true;
      const arrivedMeanwhile = this.entries.filter((entry) => !backlog.includes(entry));
      for (const entry of arrivedMeanwhile) this.deliver(entry, false);
      onLive();
    };
    if (backlog.length === 0) {
      done();
      return;
    }
    this.replay = { left: new Set(backlog), done, timer: setTimeout(done, REPLAY_TIMEOUT_MS) };
    for (const entry of backlog) this.deliver(entry, true);
  }

  private deliver(entry: Entry, offline: boolean): void {
    this.onDeliver(entry.deliveries > 0);
    entry.deliveries += 1;
    const { stanza } = entry;
    this.connection?.send(
      offline ? { ...stanza, attrs: { ...stanza.attrs, offline: entry.deliveries.toString() } } : stanza,
    );
  }
}
