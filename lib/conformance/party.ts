import type { AuthenticationCreds } from '../baileys/types.js';
import {
  type Baileys,
  type KeyPair,
  type KeyStore,
  type Patch,
  quietLogger,
  type SignalRepository,
  type TransactionalKeyStore,
} from './baileys.js';

const PRE_KEYS = 30;
const GROUP = '120363025246125486@g.us';

/** A key store that keeps references, for the party that is not under test. */
export class MemoryKeys implements KeyStore {
  readonly records = new Map<string, Map<string, unknown>>();

  async get(type: string, ids: string[]): Promise<Record<string, unknown>> {
    const found: Record<string, unknown> = {};
    for (const id of ids) {
      const value = this.records.get(type)?.get(id);
      if (value !== undefined) {
        found[id] = value;
      }
    }
    return found;
  }

  async set(data: Patch): Promise<void> {
    for (const [type, group] of Object.entries(data)) {
      const records = this.records.get(type) ?? new Map<string, unknown>();
      this.records.set(type, records);
      for (const [id, value] of Object.entries(group ?? {})) {
        if (value) {
          records.set(id, value);
        } else {
          records.delete(id);
        }
      }
    }
  }
}

/** Somebody with an identity, keys, and Baileys' own Signal code over them. */
export class Party {
  readonly keys: TransactionalKeyStore;
  readonly signal: SignalRepository;

  constructor(
    private readonly baileys: Baileys,
    readonly jid: string,
    readonly creds: AuthenticationCreds,
    keys: KeyStore,
  ) {
    this.keys = baileys.addTransactionCapability(keys, quietLogger, {
      maxCommitRetries: 1,
      delayBetweenTriesMs: 0,
    });
    this.signal = baileys.DEFAULT_CONNECTION_CONFIG.makeSignalRepository(
      { creds, keys: this.keys },
      quietLogger,
      undefined,
    );
  }

  static inMemory(baileys: Baileys, jid: string): Party & { memory: MemoryKeys } {
    const memory = new MemoryKeys();
    return Object.assign(new Party(baileys, jid, baileys.initAuthCreds(), memory), { memory });
  }

  /** Makes and stores one-time pre-keys, and gives what others need to write to this party first. */
  async publish(): Promise<object> {
    const { creds, baileys } = this;
    const { newPreKeys, lastPreKeyId } = baileys.generateOrGetPreKeys(creds, PRE_KEYS);
    await this.keys.set({ 'pre-key': newPreKeys });
    creds.nextPreKeyId = lastPreKeyId + 1;
    creds.firstUnuploadedPreKeyId = lastPreKeyId + 1;
    const pub = (key: Uint8Array) => baileys.generateSignalPubKey(key);
    return {
      registrationId: creds.registrationId,
      identityKey: pub(creds.signedIdentityKey.public),
      signedPreKey: {
        keyId: creds.signedPreKey.keyId,
        publicKey: pub(creds.signedPreKey.keyPair.public),
        signature: creds.signedPreKey.signature,
      },
      preKey: { keyId: lastPreKeyId, publicKey: pub((newPreKeys[lastPreKeyId] as KeyPair).public) },
    };
  }

  /** Starts a Signal session with `other`. */
  async meet(other: Party): Promise<void> {
    await this.signal.injectE2ESession({ jid: other.jid, session: await other.publish() });
  }

  /** One message to `other`; throws when it does not arrive as it was sent. */
  async tell(other: Party, text: string): Promise<void> {
    const sealed = await this.signal.encryptMessage({ jid: other.jid, data: Buffer.from(text) });
    const opened = await other.signal.decryptMessage({ jid: this.jid, ...sealed });
    expectText(opened, text);
  }

  /** One message in a group, with the sender key handed over before. */
  async tellGroup(other: Party, text: string): Promise<void> {
    const { ciphertext, senderKeyDistributionMessage } = await this.signal.encryptGroupMessage({
      group: GROUP,
      meId: this.jid,
      data: Buffer.from(text),
    });
    await other.signal.processSenderKeyDistributionMessage({
      item: { groupId: GROUP, axolotlSenderKeyDistributionMessage: senderKeyDistributionMessage },
      authorJid: this.jid,
    });
    const opened = await other.signal.decryptGroupMessage({
      group: GROUP,
      authorJid: this.jid,
      msg: ciphertext,
    });
    expectText(opened, text);
  }
}

function expectText(opened: Uint8Array, text: string): void {
  const got = Buffer.from(opened).toString();
  if (got !== text) {
    throw new Error(`sent ${JSON.stringify(text)}, received ${JSON.stringify(got)}`);
  }
}
