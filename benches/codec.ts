/**
 * The value codec against what every JavaScript store pays, JSON with Baileys' BufferJSON: both in one process,
 * rounds interleaved, medians printed. Times are of the processor, so that a busy machine matters less. Run with `node --import tsx benches/codec.ts`.
 */
import { randomBytes } from 'node:crypto';
import { decodeValue, encodePatch, Scratch } from '../lib/codec/index.js';

const ROUNDS = 15;
const ROUND_NANOSECONDS = 20e6;
/** The optimising compiler needs some 100,000 calls of the decoder, and time on a second core, before it is done. */
const WARM_UP_ROUNDS = 25;

const base64 = (length: number): string => randomBytes(length).toString('base64');
const keyPair = () => ({ private: randomBytes(32), public: randomBytes(32) });

function sessionRecord() {
  const chain = (counter: number, type: number) => ({
    chainKey: { counter, key: base64(32) },
    chainType: type,
    messageKeys: counter > 2 ? { [counter - 1]: base64(32), [counter - 2]: base64(32) } : {},
  });
  const entry = (closed: number) => ({
    registrationId: 12345,
    currentRatchet: {
      ephemeralKeyPair: { pubKey: base64(33), privKey: base64(32) },
      lastRemoteEphemeralKey: base64(33),
      previousCounter: 3,
      rootKey: base64(32),
    },
    indexInfo: {
      baseKey: base64(33),
      baseKeyType: 1,
      closed,
      used: 1_763_000_000_000,
      created: 1_762_000_000_000,
      remoteIdentityKey: base64(33),
    },
    _chains: { [base64(33)]: chain(7, 1), [base64(33)]: chain(1, 2) },
  });
  return {
    _sessions: { [base64(33)]: entry(-1), [base64(33)]: entry(1_763_000_100_000) },
    version: 'v1',
  };
}

function pairedCreds() {
  const creds: Record<string, unknown> = {
    noiseKey: keyPair(),
    pairingEphemeralKeyPair: keyPair(),
    signedIdentityKey: keyPair(),
    signedPreKey: { keyPair: keyPair(), signature: randomBytes(64), keyId: 1 },
    registrationId: 214,
    advSecretKey: base64(32),
    processedHistoryMessages: [
      {
        key: { remoteJid: '15550001111@s.whatsapp.net', fromMe: true, id: '3EB0C431C26A1916E07A' },
        messageTimestamp: 1_763_000_000,
      },
    ],
    nextPreKeyId: 31,
    firstUnuploadedPreKeyId: 31,
    accountSyncCounter: 1,
    accountSettings: { unarchiveChats: false },
    registered: true,
    pairingCode: undefined,
    lastPropHash: '2P1Yhf',
    routingInfo: randomBytes(6),
    additionalData: undefined,
    me: { id: '15550001111:12@s.whatsapp.net', lid: '99887766554433:12@lid', name: 'Vault' },
    account: {
      details: randomBytes(18),
      accountSignatureKey: randomBytes(32),
      accountSignature: randomBytes(64),
      deviceSignature: randomBytes(64),
    },
    signalIdentities: [
      {
        identifier: { name: '15550001111:12@s.whatsapp.net', deviceId: 0 },
        identifierKey: randomBytes(33),
      },
    ],
    platform: 'android',
    myAppStateKeyId: 'AAAAAOpT',
    lastAccountSyncTimestamp: 1_763_000_000,
  };
  return creds;
}

const appStateVersion = {
  version: 42,
  hash: randomBytes(128),
  indexValueMap: Object.fromEntries(
    Array.from({ length: 20 }, () => [base64(32), { valueMac: randomBytes(32) }]),
  ),
};

const VALUES: Record<string, unknown> = {
  'pre-key': keyPair(),
  session: sessionRecord(),
  'sender-key': randomBytes(600),
  'app-state-sync-version': appStateVersion,
  'device-list': ['0', '1', '12'],
  'lid-mapping': '99887766554433',
  'sender-key-memory': { '15550001111:12@s.whatsapp.net': true, '15550002222@s.whatsapp.net': true },
  'paired creds': pairedCreds(),
};

interface Contestant {
  encode(): number;
  decode(): unknown;
}

function processorNanoseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Median nanoseconds per call of each function, warmed up, in interleaved rounds. */
function race(functions: (() => unknown)[]): number[] {
  const times: number[][] = functions.map(() => []);
  const calls = functions.map((run) => {
    let count = 0;
    const until = process.hrtime.bigint() + BigInt(ROUND_NANOSECONDS * WARM_UP_ROUNDS);
    for (; (count & 15) !== 0 || process.hrtime.bigint() < until; count++) {
      run();
    }
    return Math.max(1, Math.floor(count / WARM_UP_ROUNDS));
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, run] of functions.entries()) {
      const count = calls[index] as number;
      const started = processorNanoseconds();
      for (let call = 0; call < count; call++) {
        run();
      }
      times[index]?.push((processorNanoseconds() - started) / count);
    }
  }
  return times.map((each) => each.sort((a, b) => a - b)[ROUNDS >> 1] as number);
}

const micros = (nanoseconds: number): string => (nanoseconds / 1000).toFixed(2);

async function main(): Promise<void> {
  const { BufferJSON } = await import('baileys');
  const scratch = new Scratch();
  const rows = [];
  for (const [type, value] of Object.entries(VALUES)) {
    const patch = { [type]: { a: value } };
    const header = 8 + type.length + 1;
    const length = encodePatch(scratch, patch);
    const stored = Buffer.from(scratch.bytes.subarray(header, length));
    const text = JSON.stringify(value, BufferJSON.replacer);
    const codec: Contestant = {
      encode: () => encodePatch(scratch, patch),
      decode: () => decodeValue(stored),
    };
    const json: Contestant = {
      encode: () => JSON.stringify(value, BufferJSON.replacer).length,
      decode: () => JSON.parse(text, BufferJSON.reviver),
    };
    const [encode, jsonEncode, decode, jsonDecode] = race([
      codec.encode,
      json.encode,
      codec.decode,
      json.decode,
    ]) as [number, number, number, number];
    rows.push({
      value: type,
      bytes: stored.length,
      'JSON bytes': Buffer.byteLength(text),
      'encode µs': micros(encode),
      'JSON encode µs': micros(jsonEncode),
      'encode ×': (jsonEncode / encode).toFixed(1),
      'decode µs': micros(decode),
      'JSON decode µs': micros(jsonDecode),
      'decode ×': (jsonDecode / decode).toFixed(1),
    });
  }
  console.table(rows);
}

void main();
