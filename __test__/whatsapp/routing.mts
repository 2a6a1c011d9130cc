/** Messages, receipts and acks: who gets which copy, addressed how. */
import { isJidGroup, isLidUser, jidDecode } from 'baileys';
import type { Connection } from './connection.mjs';
import type { Device, Directory } from './directory.mjs';
import { type BinaryNode, child, children, node, unixTime } from './nodes.mjs';
import type { Stats } from './stats.mjs';

/** Receipts that say more about a message, but not that the device is done with it. */
const NOT_SETTLING = new Set(['retry', 'hist_sync', 'read', 'read-self', 'played']);

/** Parts of a sent message that reach recipients as they are. */
const SHARED_PARTS = new Set(['device-identity', 'reporting', 'tctoken', 'meta']);

export class Router {
  constructor(
    private readonly directory: Directory,
    private readonly stats: Stats,
  ) {}

  message(sender: Device, connection: Connection, stanza: BinaryNode): void {
    const { id, to } = stanza.attrs;
    this.stats.messages += 1;
    connection.send(node('ack', { class: 'message', id, from: to, t: unixTime() }));
    if (isJidGroup(to)) this.groupMessage(sender, stanza);
    else this.directMessage(sender, stanza);
  }

  private directMessage(sender: Device, stanza: BinaryNode): void {
    const { id, to = '', type, recipient } = stanza.attrs;
    const lidAddressed = Boolean(isLidUser(to));
    for (const { device, enc } of this.copies(stanza)) {
      const attrs = {
        ...(lidAddressed
          ? { from: sender.lid, sender_pn: sender.jid }
          : { from: sender.jid, sender_lid: sender.lid }),
        recipient: device.account === sender.account ? (recipient ?? to) : undefined,
        id,
        type,
        t: unixTime(),
        notify: sender.account.name,
      };
      device.mailbox.push(node('message', attrs, [enc, ...sharedParts(stanza)]));
    }
  }

  private groupMessage(sender: Device, stanza: BinaryNode): void {
    const { id, to, type, participant } = stanza.attrs;
    const group = this.directory.groups.get(to ?? '');
    if (!group?.members.has(sender.account)) return;
    const attrs = {
      from: to,
      participant: sender.lid,
      participant_pn: sender.jid,
      addressing_mode: 'lid',
      id,
      type,
      t: unixTime(),
      notify: sender.account.name,
    };
    const forAll = child(stanza, 'enc');
    const own = new Map([...this.copies(stanza)].map(({ device, enc }) => [device, enc]));
    for (const device of [...group.members].flatMap((member) => [...member.devices.values()])) {
      if (device === sender) continue;
      // A resend after a retry receipt is for one device only.
      if (participant && device !== this.directory.device(participant)) continue;
      const encs = [own.get(device), forAll].filter((enc) => enc !== undefined);
      device.mailbox.push(node('message', attrs, [...encs, ...sharedParts(stanza)]));
    }
  }

  /** The `<enc>` meant for one companion each; copies for phones end here. */
  private *copies(stanza: BinaryNode): Iterable<{ device: Device; enc: BinaryNode }> {
    const participants = child(stanza, 'participants');
    const addressed = participants
      ? children(participants, 'to').map((to) => ({ jid: to.attrs.jid, enc: child(to, 'enc') }))
      : [{ jid: stanza.attrs.to, enc: child(stanza, 'enc') }];
    for (const { jid, enc } of addressed) {
      const device = this.directory.device(jid);
      if (device && enc) yield { device, enc };
    }
  }

  receipt(reader: Device, connection: Connection, stanza: BinaryNode): void {
    const { id, to, type, participant, recipient } = stanza.attrs;
    connection.send(node('ack', { class: 'receipt', id, from: to, type, participant, t: unixTime() }));
    if (!NOT_SETTLING.has(type ?? '')) {
      const items = children(child(stanza, 'list'), 'item').map((item) => item.attrs.id);
      for (const settled of [id, ...items]) reader.mailbox.settle('message', settled);
    }
    const isRetry = type === 'retry';
    if (isRetry) this.stats.retries += 1;

    const isGroup = Boolean(isJidGroup(to));
    const target = isGroup ? participant : to;
    const account = this.directory.account(target);
    if (!account || (account === reader.account && !isRetry)) return;
    const readerJid = isLidUser(target) ? reader.lid : reader.jid;
    const attrs = isGroup ? { from: to, participant: readerJid } : { from: readerJid, recipient };
    const named = this.directory.device(target);
    const receivers = jidDecode(target)?.device ? (named ? [named] : []) : account.devices.values();
    for (const device of receivers) {
      device.mailbox.push(node('receipt', { ...attrs, id, type, t: unixTime() }, stanza.content));
    }
  }

  ack(device: Device, stanza: BinaryNode): void {
    const { id, class: of = '', error } = stanza.attrs;
    device.mailbox.settle(of, id);
    if (error) this.stats.nacks[error] = (this.stats.nacks[error] ?? 0) + 1;
  }
}

const sharedParts = ({ content }: BinaryNode): BinaryNode[] =>
  Array.isArray(content) ? content.filter(({ tag }) => SHARED_PARTS.has(tag)) : [];
