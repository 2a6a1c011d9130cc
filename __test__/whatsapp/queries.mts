/** Requests (`iq`) of logged-in devices, by namespace. */
import { randomBytes } from 'node:crypto';
import type { Connection } from './connection.mjs';
import type { Account, Device, Directory, Group } from './directory.mjs';
import type { KeyServer } from './keys.mjs';
import { type BinaryNode, child, children, firstChild, node, unixTime } from './nodes.mjs';

type Answer = (device: Device, connection: Connection, iq: BinaryNode) => boolean;

/** What a server of the real network says about itself, as far as Baileys listens. */
const PROPS = [
  node('prop', { name: 'privacy_token_sending_on_all_1_on_1_messages', value: 'true' }),
  node('prop', { name: 'lid_trusted_token_issue_to_lid', value: 'true' }),
];

const PRIVACY = ['readreceipts', 'last', 'online', 'profile', 'status', 'groupadd', 'calladd', 'messages'];

export class Queries {
  private readonly byNamespace: Record<string, Answer>;

  constructor(
    private readonly directory: Directory,
    keys: KeyServer,
  ) {
    const empty: Answer = (_device, connection, iq) => {
      connection.reply(iq);
      return true;
    };
    this.byNamespace = {
      encrypt: (device, connection, iq) => keys.answer(device, connection, iq),
      usync: (_device, connection, iq) => this.usync(connection, iq),
      privacy: (device, connection, iq) => this.privacy(device, connection, iq),
      'w:sync:app:state': (device, connection, iq) => this.appState(device, connection, iq),
      'w:g2': (device, connection, iq) => this.groups(device, connection, iq),
      abt: (_device, connection, iq) => {
        connection.reply(iq, [node('props', { protocol: '1', hash: 'local' }, PROPS)]);
        return true;
      },
      blocklist: (_device, connection, iq) => {
        connection.reply(iq, [node('list', {}, [])]);
        return true;
      },
      'w:p': empty,
      'w:stats': empty,
      'urn:xmpp:whatsapp:dirty': empty,
      md: (device, connection, iq) => {
        if (!child(iq, 'remove-companion-device')) return false;
        device.account.devices.delete(device.number);
        connection.reply(iq);
        return true;
      },
    };
  }

  /** False when nobody here answers that kind of request. */
  answer(device: Device, connection: Connection, iq: BinaryNode): boolean {
    return this.byNamespace[iq.attrs.xmlns ?? '']?.(device, connection, iq) ?? false;
  }

  /** Who is behind these addresses: devices, LIDs, whether a number is known. */
  private usync(connection: Connection, iq: BinaryNode): boolean {
    const usync = child(iq, 'usync');
    const asked = (protocol: string) => child(child(usync, 'query'), protocol) !== undefined;
    const users = children(child(usync, 'list'), 'user').map((user) => {
      const number = child(user, 'contact')?.content?.toString().replace('+', '');
      const jid = user.attrs.jid ?? `${number}@s.whatsapp.net`;
      const account = this.directory.account(jid);
      const answers: BinaryNode[] = [];
      if (asked('contact')) answers.push(node('contact', { type: account ? 'in' : 'out' }));
      if (account && asked('devices')) answers.push(node('devices', {}, [deviceList(account)]));
      if (account && asked('lid') && !jid.endsWith('@lid')) {
        answers.push(node('lid', { val: `${account.lidUser}@lid` }));
      }
      return node('user', { jid }, answers);
    });
    connection.reply(iq, [node('usync', { ...usync?.attrs }, [node('list', {}, users)])]);
    return true;
  }

  private privacy(device: Device, connection: Connection, iq: BinaryNode): boolean {
    if (iq.attrs.type === 'get') {
      const categories = PRIVACY.map((name) => node('category', { name, value: 'all' }));
      connection.reply(iq, [node('privacy', {}, categories)]);
      return true;
    }
    const tokens = child(iq, 'tokens');
    if (!tokens) return false;
    connection.reply(iq);
    for (const { attrs } of children(tokens, 'token')) {
      for (const peer of this.directory.account(attrs.jid)?.devices.values() ?? []) {
        const token = node('token', { jid: peer.jid, t: attrs.t, type: attrs.type }, randomBytes(12));
        const from = `${device.account.user}@s.whatsapp.net`;
        const head = {
          from,
          sender_lid: `${device.account.lidUser}@lid`,
          type: 'privacy_token',
          t: unixTime(),
        };
        const id = randomBytes(6).toString('hex');
        peer.mailbox.push(node('notification', { ...head, id }, [node('tokens', {}, [token])]));
      }
    }
    return true;
  }

  /** Stores patches as they come and returns those a device has not seen. */
  private appState(device: Device, connection: Connection, iq: BinaryNode): boolean {
    const { appState } = device.account;
    const collections = children(child(iq, 'sync'), 'collection').map((collection) => {
      const { name = '', version = '0' } = collection.attrs;
      const patches = appState.get(name) ?? [];
      appState.set(name, patches);
      const unseen = patches.slice(Number(version));
      const incoming = child(collection, 'patch')?.content;
      if (!(incoming instanceof Uint8Array)) {
        const content = unseen.map((patch) => node('patch', {}, patch));
        return node('collection', { name, version }, content.length ? [node('patches', {}, content)] : []);
      }
      if (unseen.length > 0) throw new Error(`a patch of ${name} starts from an old version ${version}`);
      patches.push(Buffer.from(incoming));
      return node('collection', { name, version: patches.length.toString() });
    });
    connection.reply(iq, [node('sync', {}, collections)]);
    device.synced = true;
    return true;
  }

  private groups(device: Device, connection: Connection, iq: BinaryNode): boolean {
    const request = firstChild(iq);
    if (request?.tag === 'create') {
      const invited = children(request, 'participant').map(({ attrs }) => this.directory.account(attrs.jid));
      const members = new Set([device.account, ...invited.filter((account) => account !== undefined)]);
      const jid = `12036${randomBytes(6).readUIntBE(0, 6)}@g.us`;
      const subject = request.attrs.subject ?? '';
      this.directory.groups.set(jid, { jid, subject, creator: device.account, members, created: unixTime() });
    }
    if (request?.tag === 'participating') {
      const mine = [...this.directory.groups.values()].filter(({ members }) => members.has(device.account));
      connection.reply(iq, [node('groups', {}, mine.map(groupNode))]);
      return true;
    }
    const group =
      request?.tag === 'create'
        ? [...this.directory.groups.values()].at(-1)
        : request?.tag === 'query' && this.directory.groups.get(iq.attrs.to ?? '');
    if (!group) return false;
    connection.reply(iq, [groupNode(group)]);
    return true;
  }
}

function deviceList(account: Account): BinaryNode {
  const companions = [...account.devices.keys()].map(String);
  return node('device-list', {}, [
    node('device', { id: '0' }),
    ...companions.map((id) => node('device', { id, 'key-index': id })),
  ]);
}

function groupNode({ jid, subject, creator, members, created }: Group): BinaryNode {
  const attrs = {
    id: jid,
    subject,
    creation: created,
    s_t: created,
    creator: `${creator.lidUser}@lid`,
    creator_pn: `${creator.user}@s.whatsapp.net`,
    addressing_mode: 'lid',
  };
  const participants = [...members].map((member) =>
    node('participant', {
      jid: `${member.lidUser}@lid`,
      phone_number: `${member.user}@s.whatsapp.net`,
      type: member === creator ? 'superadmin' : undefined,
    }),
  );
  return node('group', attrs, participants);
}
