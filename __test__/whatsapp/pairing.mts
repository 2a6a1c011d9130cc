/**
 * Linking a companion: `pair-device` hands out refs, the phone scans a QR made of one of them and
 * answers with a signed device identity, the companion counter-signs it and is told to restart (515).
 */
import { randomBytes } from 'node:crypto';
import {
  Curve,
  hmacSign,
  jidEncode,
  type proto as Proto,
  proto,
  WA_ADV_ACCOUNT_SIG_PREFIX,
  WA_ADV_DEVICE_SIG_PREFIX,
} from 'baileys';
import type { Connection } from './connection.mjs';
import type { Account, Device, Directory } from './directory.mjs';
import type { KeyBundle } from './key-bundle.mjs';
import { type BinaryNode, bytes, child, node, uint, unixTime, verifies } from './nodes.mjs';
import type { Stats } from './stats.mjs';

const REFS = 6;
const SIGN_TIMEOUT_MS = 20_000;

export interface ScanOptions {
  /** Phone number, digits only; an existing account gets another companion. Default: a new account. */
  user?: string;
  /** The account's display name, for a new account. */
  name?: string;
}

interface Candidate {
  connection: Connection;
  noiseKey: Buffer;
  bundle: KeyBundle;
  refs: Set<string>;
  /** Settles the companion's answer to `pair-success`. */
  signed?: (reply: BinaryNode | Error) => void;
}

export class Pairing {
  private readonly candidates = new Map<Connection, Candidate>();

  constructor(
    private readonly directory: Directory,
    private readonly stats: Stats,
  ) {}

  /** An unpaired client connected. Its signed pre-key must verify before it gets any ref. */
  start(
    connection: Connection,
    noiseKey: Buffer,
    pairing: Proto.ClientPayload.IDevicePairingRegistrationData,
  ): void {
    const { eRegid, eIdent, eSkeyId, eSkeyVal, eSkeySig } = pairing;
    if (!eRegid || !eIdent || !eSkeyId || !eSkeyVal || !eSkeySig) throw new Error('incomplete pairing data');
    if (!signedPreKeyVerifies(eIdent, eSkeyVal, eSkeySig)) {
      this.stats.rejectedPairings += 1;
      throw new Error('the signed pre-key is not signed by the identity key');
    }
    const bundle = {
      registrationId: uint(eRegid),
      identity: Buffer.from(eIdent),
      signedPreKey: { id: uint(eSkeyId), key: Buffer.from(eSkeyVal), signature: Buffer.from(eSkeySig) },
    };
    const refs = Array.from({ length: REFS }, () => `2@${randomBytes(48).toString('base64')}`);
    this.candidates.set(connection, { connection, noiseKey, bundle, refs: new Set(refs) });
    const content = refs.map((ref) => node('ref', {}, Buffer.from(ref)));
    const attrs = { from: 's.whatsapp.net', type: 'set', id: randomBytes(4).toString('hex'), xmlns: 'md' };
    connection.send(node('iq', attrs, [node('pair-device', {}, content)]));
  }

  /** An unpaired client's stanza: only the counter-signed identity matters. */
  receive(connection: Connection, stanza: BinaryNode): void {
    if (child(stanza, 'pair-device-sign')) this.candidates.get(connection)?.signed?.(stanza);
  }

  abandon(connection: Connection): void {
    this.candidates.get(connection)?.signed?.(new Error('the companion left during pairing'));
    this.candidates.delete(connection);
  }

  /** What the phone does with the text of a QR code. Resolves when the companion has counter-signed. */
  async scan(qr: string, options: ScanOptions = {}): Promise<Device> {
    try {
      return await this.link(qr, options);
    } catch (error) {
      this.stats.rejectedPairings += 1;
      throw error;
    }
  }

  private async link(qr: string, options: ScanOptions): Promise<Device> {
    const [ref, noiseKey, identity, advSecret] = qr.slice(qr.indexOf('#') + 1).split(',');
    const candidate = [...this.candidates.values()].find(({ refs }) => ref !== undefined && refs.has(ref));
    if (!candidate || !advSecret) throw new Error('this QR code is not, or no longer, valid');
    if (
      noiseKey !== candidate.noiseKey.toString('base64') ||
      identity !== candidate.bundle.identity.toString('base64')
    ) {
      throw new Error('the QR code names other keys than the client that shows it');
    }
    const existing = options.user && this.directory.account(`${options.user}@s.whatsapp.net`);
    const account = existing || this.directory.createAccount(options.user, options.name);
    const number = this.directory.nextDeviceNumber(account);
    const details = proto.ADVDeviceIdentity.encode({
      rawId: uint(randomBytes(4)),
      timestamp: Math.floor(Date.now() / 1000),
      keyIndex: number,
      accountType: proto.ADVEncryptionType.E2EE,
      deviceType: proto.ADVEncryptionType.E2EE,
    }).finish();

    const reply = this.awaitSignature(candidate);
    candidate.connection.send(pairSuccess(account, number, details, candidate.bundle.identity, advSecret));
    checkDeviceSignature(await reply, details, candidate.bundle.identity, account);

    this.candidates.delete(candidate.connection);
    const device = this.directory.addDevice(account, number, candidate.noiseKey, candidate.bundle);
    this.stats.pairings += 1;
    candidate.connection.end(node('stream:error', { code: '515' }));
    return device;
  }

  private awaitSignature(candidate: Candidate): Promise<BinaryNode> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error('the companion did not counter-sign in time')),
        SIGN_TIMEOUT_MS,
      );
      candidate.signed = (reply) => {
        clearTimeout(timer);
        if (reply instanceof Error) reject(reply);
        else resolve(reply);
      };
    });
  }
}

/** Signal signs the pre-key with its version byte in front. */
export const signedPreKeyVerifies = (identity: Uint8Array, key: Uint8Array, signature: Uint8Array): boolean =>
  verifies(identity, Buffer.concat([Buffer.from([5]), key]), signature);

function pairSuccess(
  account: Account,
  number: number,
  details: Uint8Array,
  companionIdentity: Buffer,
  advSecret: string,
): BinaryNode {
  const { identity } = account.phone;
  const accountMessage = Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, companionIdentity]);
  const signed = proto.ADVSignedDeviceIdentity.encode({
    details,
    accountSignatureKey: identity.public,
    accountSignature: Curve.sign(identity.private, accountMessage),
  }).finish();
  const sealed = proto.ADVSignedDeviceIdentityHMAC.encode({
    details: signed,
    hmac: hmacSign(Buffer.from(signed), Buffer.from(advSecret, 'base64')),
  }).finish();
  const jid = jidEncode(account.user, 's.whatsapp.net', number);
  const lid = jidEncode(account.lidUser, 'lid', number);
  const attrs = {
    from: 's.whatsapp.net',
    type: 'set',
    id: randomBytes(4).toString('hex'),
    t: unixTime(),
    xmlns: 'md',
  };
  return node('iq', attrs, [
    node('pair-success', {}, [
      node('device-identity', {}, sealed),
      node('biz', { name: account.name }),
      node('device', { jid, lid }),
      node('platform', { name: 'android' }),
    ]),
  ]);
}

function checkDeviceSignature(
  reply: BinaryNode,
  details: Uint8Array,
  companionIdentity: Buffer,
  account: Account,
): void {
  const signed = proto.ADVSignedDeviceIdentity.decode(
    bytes(child(reply, 'pair-device-sign'), 'device-identity'),
  );
  const message = Buffer.concat([
    WA_ADV_DEVICE_SIG_PREFIX,
    details,
    companionIdentity,
    account.phone.identity.public,
  ]);
  if (!signed.deviceSignature || !verifies(companionIdentity, message, signed.deviceSignature)) {
    throw new Error('the companion signed its identity with another key');
  }
}
