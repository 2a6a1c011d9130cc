/**
 * Bytes that a release has stored must decode for ever. `golden.json` only ever grows: when an entry here fails, the
 * codec is wrong, not the entry.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { DICTIONARY } from '../../lib/codec/dictionary.js';
import { decodeValue, encodeValue } from '../../lib/codec/index.js';

interface Golden {
  dictionary: string[];
  samples: { name: string; bytes: string }[];
}

const golden = JSON.parse(readFileSync(join(__dirname, 'golden.json'), 'utf8')) as Golden;

const bytes = (length: number, from: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, index) => (from + index) & 0xff));
const base64 = (length: number, from: number): string => bytes(length, from).toString('base64');
const keyPair = (from: number) => ({ private: bytes(32, from), public: bytes(32, from + 32) });

const chain = {
  chainKey: { counter: 4, key: base64(32, 1) },
  chainType: 2,
  messageKeys: { 3: base64(32, 9) },
};

/** What each sample must decode to. */
const VALUES: Record<string, unknown> = {
  null: null,
  false: false,
  true: true,
  'integers of every size': [0, 63, 64, 127, 128, 16_384, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER],
  'negative integers': [-1, -128, -129, -(2 ** 40), Number.MIN_SAFE_INTEGER],
  doubles: [0.5, -0, 1.7976931348623157e308, 5e-324, 2 ** 53],
  bigints: [0n, 255n, -1n, 2n ** 80n],
  'empty containers': [[], {}, '', Buffer.alloc(0)],
  'ASCII text': ['short', 'x'.repeat(63), 'y'.repeat(64), 'z'.repeat(5000)],
  'text beyond ASCII': { name: 'José 😀', ключ: 'значение' },
  'lone surrogates': ['\ud83d', 'a\udc00b'],
  'keys of every kind': Object.fromEntries([
    ['__proto__', 1],
    ['', 2],
    ['public', 3],
    ['7', 4],
    ['x y', 5],
  ]),
  'the whole dictionary': Object.fromEntries(golden.dictionary.map((key, index) => [key, index])),
  bytes: [bytes(1, 0), bytes(300, 7)],
  'pre-key': keyPair(1),
  session: {
    _sessions: {
      [base64(33, 5)]: {
        registrationId: 1234,
        currentRatchet: {
          ephemeralKeyPair: { pubKey: base64(33, 5), privKey: base64(32, 6) },
          lastRemoteEphemeralKey: base64(33, 7),
          previousCounter: 2,
          rootKey: base64(32, 8),
        },
        indexInfo: {
          baseKey: base64(33, 5),
          baseKeyType: 1,
          closed: -1,
          used: 1_763_000_000_000,
          created: 1_762_000_000_000,
          remoteIdentityKey: base64(33, 10),
        },
        _chains: { [base64(33, 11)]: chain },
        pendingPreKey: { signedKeyId: 1, baseKey: base64(33, 12), preKeyId: 3 },
      },
    },
    version: 'v1',
  },
  'sender-key': Buffer.from('[{"senderKeyId":1}]'),
  'app-state-sync-key': {
    keyData: bytes(32, 3),
    fingerprint: { rawId: 7, currentIndex: 1, deviceIndexes: [0, 1] },
    timestamp: { low: 1_763_000_000, high: 0, unsigned: false },
  },
  'app-state-sync-version': {
    version: 2,
    hash: bytes(128, 0),
    indexValueMap: {
      [base64(32, 1)]: { valueMac: bytes(32, 2) },
      [base64(32, 2)]: { valueMac: bytes(32, 3) },
    },
  },
  'sender-key-memory': { '15550001111:12@s.whatsapp.net': true },
  'device-list': ['0', '1', '12'],
  'lid-mapping': '998877665544',
  'identity-key': bytes(33, 5),
  tctoken: { token: bytes(8, 1), timestamp: '1763000000', senderTimestamp: 1_763_000_000 },
  creds: {
    noiseKey: keyPair(1),
    pairingEphemeralKeyPair: keyPair(2),
    signedIdentityKey: keyPair(3),
    signedPreKey: { keyPair: keyPair(4), signature: bytes(64, 5), keyId: 1 },
    registrationId: 214,
    advSecretKey: base64(32, 6),
    processedHistoryMessages: [
      { key: { remoteJid: '1@s.whatsapp.net', fromMe: true, id: 'A' }, messageTimestamp: 5 },
    ],
    nextPreKeyId: 31,
    firstUnuploadedPreKeyId: 31,
    accountSyncCounter: 1,
    accountSettings: { unarchiveChats: false },
    registered: true,
    me: { id: '15550001111:12@s.whatsapp.net', lid: '998877665544:12@lid', name: 'José 😀' },
    account: {
      details: bytes(18, 1),
      accountSignatureKey: bytes(32, 2),
      accountSignature: bytes(64, 3),
      deviceSignature: bytes(64, 4),
    },
    signalIdentities: [
      { identifier: { name: '15550001111:12@s.whatsapp.net', deviceId: 0 }, identifierKey: bytes(33, 5) },
    ],
    platform: 'android',
    routingInfo: bytes(4, 8),
    myAppStateKeyId: 'AAAAAOpT',
    lastAccountSyncTimestamp: 1_763_000_000,
  },
};

describe('stored bytes of earlier releases', () => {
  it('cover every kind of value', () => {
    assert.deepEqual(new Set(golden.samples.map(({ name }) => name)), new Set(Object.keys(VALUES)));
  });

  for (const { name, bytes: hex } of golden.samples) {
    it(`decode: ${name}`, () => {
      assert.deepEqual(decodeValue(Buffer.from(hex, 'hex')), VALUES[name]);
    });
  }

  it('are what this release writes, so that an unnoticed change of the format is noticed', () => {
    for (const { name, bytes: hex } of golden.samples) {
      assert.equal(encodeValue(VALUES[name]).toString('hex'), hex, name);
    }
  });

  it('use a dictionary that this one begins with', () => {
    assert.deepEqual(DICTIONARY.slice(0, golden.dictionary.length), golden.dictionary);
    assert.equal(DICTIONARY.length, golden.dictionary.length, 'append the new keys to golden.json too');
  });
});

describe('the written format', () => {
  const written = readFileSync(join(__dirname, '../../docs/internals/format.md'), 'utf8');

  it('lists the dictionary, key by key', () => {
    const listed = [...written.matchAll(/`([0-9a-f]{2})` (\w+) \|/g)].map(([, code, key]) => [code, key]);
    assert.deepEqual(
      listed,
      DICTIONARY.map((key, index) => [(index + 2).toString(16).padStart(2, '0'), key]),
    );
  });

  it('has an example that is right', () => {
    const [, example = ''] = /```text\n(01 [\s\S]*?)```/.exec(written) ?? [];
    const hex = example
      .split('\n')
      .map((line) => /^ *((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2}|$)/.exec(line)?.[1] ?? '')
      .join('')
      .replaceAll(' ', '');
    const value = { public: Buffer.from([0xaa, 0xbb]), name: 'Bo', n: 300 };
    assert.equal(hex, encodeValue(value).toString('hex'));
    assert.deepEqual(decodeValue(Buffer.from(hex, 'hex')), value);
  });
});
