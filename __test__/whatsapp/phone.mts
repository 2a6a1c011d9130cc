/**
 * The account owner's phone: signs companions in and sends a new one its first history.
 *
 * Its own copies of messages are dropped by the server: nothing here reads them.
 */
import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import {
  Curve,
  encodeWAMessage,
  generateRegistrationId,
  generateSignalPubKey,
  proto,
  signedKeyPair,
} from 'baileys';
import * as libsignal from 'libsignal';
import type { Connection } from './connection.mjs';
import type { KeyBundle } from './key-bundle.mjs';
import { node, unixTime } from './nodes.mjs';

const { HISTORY_SYNC_NOTIFICATION, APP_STATE_SYNC_KEY_SHARE } = proto.Message.ProtocolMessage.Type;
const { INITIAL_BOOTSTRAP } = proto.HistorySync.HistorySyncType;

const withVersion = (key: Uint8Array): Buffer => Buffer.from(generateSignalPubKey(key));

/** What the phone must know of a device that it sends to. */
export interface Companion {
  readonly jid: string;
  readonly number: number;
  readonly account: { readonly user: string; readonly lidUser: string };
  readonly bundle: KeyBundle;
  /** One-time pre-keys nobody has fetched yet. */
  readonly preKeys: Map<number, Buffer>;
  readonly connection: Connection | undefined;
}

export class Phone {
  readonly identity = Curve.generateKeyPair();
  private readonly registrationId = generateRegistrationId();
  private readonly signedPreKey = signedKeyPair(this.identity, 1);
  private readonly appStateKey = { id: randomBytes(6), data: randomBytes(32) };
  private readonly sessions = new Map<string, libsignal.SessionRecord>();
  private readonly storage: libsignal.SignalStorage = {
    loadSession: async (id) => this.sessions.get(id),
    storeSession: async (id, session) => void this.sessions.set(id, session),
    isTrustedIdentity: () => true,
    loadPreKey: async () => undefined,
    removePreKey: () => undefined,
    loadSignedPreKey: () => ({
      privKey: Buffer.from(this.signedPreKey.keyPair.private),
      pubKey: withVersion(this.signedPreKey.keyPair.public),
    }),
    getOurRegistrationId: () => this.registrationId,
    getOurIdentity: () => ({
      privKey: Buffer.from(this.identity.private),
      pubKey: withVersion(this.identity.public),
    }),
  };

  get bundle(): KeyBundle {
    return {
      registrationId: this.registrationId,
      identity: Buffer.from(this.identity.public),
      signedPreKey: {
        id: this.signedPreKey.keyId,
        key: Buffer.from(this.signedPreKey.keyPair.public),
        signature: Buffer.from(this.signedPreKey.signature),
      },
    };
  }

  /**
   * Sends the app state key and an empty history, which lets a first login go online at once instead
   * of after 20 s. Repeated at each login until the companion has pulled the app state.
   */
  async sync(device: Companion): Promise<void> {
    const key = {
      keyId: { keyId: this.appStateKey.id },
      keyData: {
        keyData: this.appStateKey.data,
        fingerprint: { rawId: 1, currentIndex: 1, deviceIndexes: [0, device.number] },
        timestamp: Date.now(),
      },
    };
    const history = proto.HistorySync.encode({
      syncType: INITIAL_BOOTSTRAP,
      conversations: [],
      progress: 100,
    }).finish();
    await this.sendProtocolMessage(device, {
      type: APP_STATE_SYNC_KEY_SHARE,
      appStateSyncKeyShare: { keys: [key] },
    });
    await this.sendProtocolMessage(device, {
      type: HISTORY_SYNC_NOTIFICATION,
      historySyncNotification: {
        syncType: INITIAL_BOOTSTRAP,
        chunkOrder: 1,
        progress: 100,
        initialHistBootstrapInlinePayload: deflateSync(history),
      },
    });
  }

  private async sendProtocolMessage(
    device: Companion,
    protocolMessage: proto.Message.IProtocolMessage,
  ): Promise<void> {
    const { type, body } = await this.encrypt(device, encodeWAMessage({ protocolMessage }));
    const attrs = {
      from: `${device.account.user}@s.whatsapp.net`,
      id: randomBytes(10).toString('hex').toUpperCase(),
      type: 'text',
      category: 'peer',
      t: unixTime(),
    };
    device.connection?.send(node('message', attrs, [node('enc', { v: '2', type }, body)]));
  }

  private async encrypt(device: Companion, plaintext: Uint8Array): Promise<{ type: string; body: Buffer }> {
    const address = new libsignal.ProtocolAddress(`${device.account.lidUser}_1`, device.number);
    if (!this.sessions.has(address.toString())) {
      const { registrationId, identity, signedPreKey } = device.bundle;
      const preKey = takePreKey(device);
      if (!preKey) throw new Error(`${device.jid} has no pre-key left for its phone`);
      await new libsignal.SessionBuilder(this.storage, address).initOutgoing({
        registrationId,
        identityKey: withVersion(identity),
        signedPreKey: {
          keyId: signedPreKey.id,
          publicKey: withVersion(signedPreKey.key),
          signature: signedPreKey.signature,
        },
        preKey: { keyId: preKey.id, publicKey: withVersion(preKey.key) },
      });
    }
    const { type, body } = await new libsignal.SessionCipher(this.storage, address).encrypt(plaintext);
    return { type: type === 3 ? 'pkmsg' : 'msg', body: Buffer.from(body, 'binary') };
  }
}

/** Hands out a one-time pre-key, never the same one twice. */
export function takePreKey(device: Companion): { id: number; key: Buffer } | undefined {
  const [first] = device.preKeys;
  if (!first) return undefined;
  const [id, key] = first;
  device.preKeys.delete(id);
  return { id, key };
}
