/** The `encrypt` namespace: devices keep their pre-keys here, others fetch them to open sessions. */
import { encodeBigEndian, jidDecode } from 'baileys';
import type { Connection } from './connection.mjs';
import type { Device, Directory } from './directory.mjs';
import type { KeyBundle } from './key-bundle.mjs';
import { type BinaryNode, bytes, child, children, node, uint, unixTime } from './nodes.mjs';
import { signedPreKeyVerifies } from './pairing.mjs';
import { takePreKey } from './phone.mjs';
import type { Stats } from './stats.mjs';

/** At this many left, the device is told to upload more (Baileys uploads below 5). */
const LOW_PREKEYS = 4;

const KEY_TYPE = Buffer.from([5]);

export class KeyServer {
  constructor(
    private readonly directory: Directory,
    private readonly stats: Stats,
  ) {}

  /** Answers an `iq xmlns=encrypt`; false when it asks for something unknown. */
  answer(device: Device, connection: Connection, iq: BinaryNode): boolean {
    if (child(iq, 'count')) {
      connection.reply(iq, [node('count', { value: device.preKeys.size.toString() })]);
    } else if (child(iq, 'digest')) {
      connection.reply(iq, [node('digest', {}, bundleNodes(device.bundle))]);
    } else if (child(iq, 'key')) {
      const users = children(child(iq, 'key'), 'user').map(({ attrs }) => this.hand(attrs.jid ?? ''));
      connection.reply(iq, [node('list', {}, users)]);
    } else if (child(iq, 'rotate')) {
      this.storeSignedPreKey(device, child(iq, 'rotate'));
      connection.reply(iq);
    } else if (child(iq, 'list')) {
      this.upload(device, iq);
      connection.reply(iq);
    } else {
      return false;
    }
    return true;
  }

  private upload(device: Device, iq: BinaryNode): void {
    if (!bytes(iq, 'identity').equals(device.bundle.identity)) {
      throw new Error(`${device.jid} uploads pre-keys for another identity`);
    }
    this.storeSignedPreKey(device, iq);
    for (const entry of children(child(iq, 'list'), 'key')) {
      const id = uint(bytes(entry, 'id'));
      const key = bytes(entry, 'value');
      const before = device.everUploaded.get(id);
      if (before !== undefined && before !== key.toString('base64')) this.stats.preKeyConflicts += 1;
      device.everUploaded.set(id, key.toString('base64'));
      device.preKeys.set(id, key);
    }
    this.stats.preKeyUploads += 1;
  }

  private storeSignedPreKey(device: Device, parent: BinaryNode | undefined): void {
    const skey = child(parent, 'skey');
    const signedPreKey = {
      id: uint(bytes(skey, 'id')),
      key: bytes(skey, 'value'),
      signature: bytes(skey, 'signature'),
    };
    if (!signedPreKeyVerifies(device.bundle.identity, signedPreKey.key, signedPreKey.signature)) {
      throw new Error(`the signed pre-key of ${device.jid} does not verify`);
    }
    device.bundle.signedPreKey = signedPreKey;
  }

  /** A bundle for one address; a companion gives up one of its one-time pre-keys for it. */
  private hand(jid: string): BinaryNode {
    const account = this.directory.account(jid);
    if (account && !jidDecode(jid)?.device) return node('user', { jid }, bundleNodes(account.phone.bundle));
    const device = this.directory.device(jid);
    if (!device) return node('user', { jid }, [node('error', { code: '404', text: 'item-not-found' })]);
    const preKey = takePreKey(device);
    if (preKey && device.preKeys.size === LOW_PREKEYS) askForPreKeys(device);
    const oneTime = preKey
      ? [node('key', {}, [node('id', {}, encodeBigEndian(preKey.id, 3)), node('value', {}, preKey.key)])]
      : [];
    return node('user', { jid }, [...bundleNodes(device.bundle), ...oneTime]);
  }
}

function askForPreKeys(device: Device): void {
  const attrs = { from: '@s.whatsapp.net', type: 'encrypt', id: `low-${Date.now()}`, t: unixTime() };
  device.mailbox.push(
    node('notification', attrs, [node('count', { value: device.preKeys.size.toString() })]),
  );
}

function bundleNodes({ registrationId, identity, signedPreKey }: KeyBundle): BinaryNode[] {
  return [
    node('registration', {}, encodeBigEndian(registrationId)),
    node('type', {}, KEY_TYPE),
    node('identity', {}, identity),
    node('skey', {}, [
      node('id', {}, encodeBigEndian(signedPreKey.id, 3)),
      node('value', {}, signedPreKey.key),
      node('signature', {}, signedPreKey.signature),
    ]),
  ];
}
