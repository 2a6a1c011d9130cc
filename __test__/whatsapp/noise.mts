/**
 * The responder's side of `Noise_XX_25519_AESGCM_SHA256`, framed as WhatsApp does it.
 *
 * hello: client ephemeral in, server ephemeral + sealed static key + sealed certificates out.
 * finish: sealed client static key + sealed ClientPayload in. After that, transport keys.
 */
import { aesDecryptGCM, aesEncryptGCM, Curve, hkdf, type KeyPair, NOISE_MODE, proto, sha256 } from 'baileys';

const WA_HEADER = Buffer.from([87, 65, 6, 3]);
const EMPTY = Buffer.alloc(0);

/** The server's long-lived Noise key with the certificates that vouch for it. */
export interface ServerIdentity {
  key: KeyPair;
  certificates: Uint8Array;
}

/** A new identity under a root of its own; Baileys checks the shape of the chain and its serial numbers. */
export function createServerIdentity(): ServerIdentity {
  const root = Curve.generateKeyPair();
  const intermediate = Curve.generateKeyPair();
  const key = Curve.generateKeyPair();
  const certificate = (serial: number, issuer: number, subject: Uint8Array, signer: KeyPair) => {
    const details = proto.CertChain.NoiseCertificate.Details.encode({
      serial,
      issuerSerial: issuer,
      key: subject,
    }).finish();
    return { details, signature: Curve.sign(signer.private, details) };
  };
  const certificates = proto.CertChain.encode({
    leaf: certificate(2, 1, key.public, intermediate),
    intermediate: certificate(1, 0, intermediate.public, root),
  }).finish();
  return { key, certificates };
}

function iv(counter: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(counter, 8);
  return bytes;
}

class Handshake {
  private hash: Uint8Array = Buffer.from(NOISE_MODE);
  private salt: Uint8Array = this.hash;
  private key: Uint8Array = this.hash;
  private counter = 0;

  authenticate(data: Uint8Array): void {
    this.hash = sha256(Buffer.concat([this.hash, data]));
  }

  mix(secret: Uint8Array): void {
    [this.salt, this.key] = this.split(secret);
    this.counter = 0;
  }

  seal(plaintext: Uint8Array): Buffer {
    const sealed = aesEncryptGCM(plaintext, this.key, iv(this.counter++), this.hash);
    this.authenticate(sealed);
    return sealed;
  }

  open(sealed: Uint8Array): Buffer {
    const plaintext = aesDecryptGCM(sealed, this.key, iv(this.counter++), this.hash);
    this.authenticate(sealed);
    return plaintext;
  }

  /** Two keys: client to server first, then server to client. */
  split(secret: Uint8Array): [Uint8Array, Uint8Array] {
    const derived = hkdf(secret, 64, { salt: Buffer.from(this.salt), info: '' });
    return [derived.subarray(0, 32), derived.subarray(32)];
  }
}

export interface ClientHandshake {
  /** The client's Noise static key: its credential at login. */
  clientKey: Buffer;
  payload: proto.ClientPayload;
}

export class NoiseResponder {
  private buffered: Buffer = EMPTY;
  private introRead = false;
  private readonly handshake = new Handshake();
  private ephemeral: KeyPair | undefined;
  private transport: { read: Uint8Array; write: Uint8Array; reads: number; writes: number } | undefined;

  constructor(private readonly identity: ServerIdentity) {}

  get established(): boolean {
    return this.transport !== undefined;
  }

  /** Takes raw socket bytes and returns the complete frames in them, without their length prefix. */
  frames(data: Buffer): Buffer[] {
    this.buffered = Buffer.concat([this.buffered, data]);
    if (!this.introRead && !this.readIntro()) return [];
    const frames: Buffer[] = [];
    while (this.buffered.length >= 3) {
      const size = this.buffered.readUIntBE(0, 3);
      if (this.buffered.length < size + 3) break;
      frames.push(this.buffered.subarray(3, size + 3));
      this.buffered = this.buffered.subarray(size + 3);
    }
    return frames;
  }

  /** Optional `ED 00 01` with routing information, then the protocol header. */
  private readIntro(): boolean {
    let at = 0;
    if (this.buffered.subarray(0, 2).toString('latin1') === 'ED') {
      if (this.buffered.length < 7) return false;
      at = 7 + this.buffered.readUIntBE(4, 3);
    }
    if (this.buffered.length < at + WA_HEADER.length) return false;
    if (!this.buffered.subarray(at, at + WA_HEADER.length).equals(WA_HEADER)) {
      throw new Error('the connection does not start with the WhatsApp header');
    }
    this.buffered = this.buffered.subarray(at + WA_HEADER.length);
    this.introRead = true;
    return true;
  }

  /** Consumes a handshake frame: answers the hello, or returns who the client says it is. */
  handshakeFrame(frame: Buffer): { reply: Buffer } | ClientHandshake {
    const message = proto.HandshakeMessage.decode(frame);
    if (!this.ephemeral) {
      const clientEphemeral = message.clientHello?.ephemeral;
      if (!clientEphemeral) throw new Error('expected a ClientHello');
      return { reply: this.hello(clientEphemeral) };
    }
    const { static: sealedKey, payload } = message.clientFinish ?? {};
    if (!sealedKey || !payload) throw new Error('expected a ClientFinish');
    return this.finish(this.ephemeral, sealedKey, payload);
  }

  private hello(clientEphemeral: Uint8Array): Buffer {
    const ephemeral = Curve.generateKeyPair();
    this.ephemeral = ephemeral;
    this.handshake.authenticate(WA_HEADER);
    this.handshake.authenticate(clientEphemeral);
    this.handshake.authenticate(ephemeral.public);
    this.handshake.mix(Curve.sharedKey(ephemeral.private, clientEphemeral));
    const sealedKey = this.handshake.seal(this.identity.key.public);
    this.handshake.mix(Curve.sharedKey(this.identity.key.private, clientEphemeral));
    const payload = this.handshake.seal(this.identity.certificates);
    const serverHello = { ephemeral: ephemeral.public, static: sealedKey, payload };
    return this.frame(Buffer.from(proto.HandshakeMessage.encode({ serverHello }).finish()));
  }

  private finish(ephemeral: KeyPair, sealedKey: Uint8Array, sealedPayload: Uint8Array): ClientHandshake {
    const clientKey = this.handshake.open(sealedKey);
    this.handshake.mix(Curve.sharedKey(ephemeral.private, clientKey));
    const payload = proto.ClientPayload.decode(this.handshake.open(sealedPayload));
    const [read, write] = this.handshake.split(EMPTY);
    this.transport = { read, write, reads: 0, writes: 0 };
    return { clientKey, payload };
  }

  /** Opens a transport frame; throws if it was tampered with or is out of order. */
  open(frame: Buffer): Buffer {
    if (!this.transport) throw new Error('the handshake is not finished');
    return aesDecryptGCM(frame, this.transport.read, iv(this.transport.reads++), EMPTY);
  }

  /** Seals and frames a plaintext for the socket. */
  seal(plaintext: Uint8Array): Buffer {
    if (!this.transport) throw new Error('the handshake is not finished');
    return this.frame(aesEncryptGCM(plaintext, this.transport.write, iv(this.transport.writes++), EMPTY));
  }

  private frame(data: Buffer): Buffer {
    const length = Buffer.alloc(3);
    length.writeUIntBE(data.length, 0, 3);
    return Buffer.concat([length, data]);
  }
}
