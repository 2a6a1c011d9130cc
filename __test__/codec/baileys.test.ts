/**
 * Records of every type as real Baileys and libsignal make and use them: two parties talk to each other, and all
 * they keep goes through the frames and back.
 */
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { AuthenticationCreds, SignalDataSet, SignalDataTypeMap, SignalKeyStore } from 'baileys' with {
  'resolution-mode': 'import',
};
import {
  decodeAnswer,
  decodeValue,
  encodeGet,
  encodePatch,
  encodeValue,
  reviveBufferJson,
  Scratch,
} from '../../lib/codec/index.js';
import { readGetFrame, readSetFrame, writeAnswer } from './wire.js';

type Baileys = typeof import('baileys', { with: { 'resolution-mode': 'import' }});
let baileys: Baileys;
before(async () => {
  baileys = await import('baileys');
});

const quiet = {
  level: 'silent',
  child: () => quiet,
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
};

/** A key store in memory that keeps encoded records only and speaks frames, as the core does. */
class FrameStore implements SignalKeyStore {
  readonly records = new Map<string, Map<string, Buffer>>();
  private readonly scratch = new Scratch();

  get<T extends keyof SignalDataTypeMap>(type: T, ids: string[]): { [id: string]: SignalDataTypeMap[T] } {
    const length = encodeGet(this.scratch, type, ids);
    const asked = readGetFrame(this.scratch.bytes.subarray(0, length));
    const found: [number, Buffer][] = [];
    for (const [index, id] of asked.ids.entries()) {
      const value = this.records.get(asked.type)?.get(id);
      if (value) {
        found.push([index, value]);
      }
    }
    const answer = writeAnswer(found);
    const { AppStateSyncKeyData } = baileys.proto.Message;
    const revive =
      type === 'app-state-sync-key'
        ? (value: unknown) => AppStateSyncKeyData.fromObject(value as Record<string, unknown>)
        : undefined;
    return decodeAnswer(answer, answer.length, ids, revive) as { [id: string]: SignalDataTypeMap[T] };
  }

  set(data: SignalDataSet): void {
    const length = encodePatch(this.scratch, data);
    for (const { op, type, id, value } of readSetFrame(this.scratch.bytes.subarray(0, length))) {
      const records = this.records.get(type) ?? new Map<string, Buffer>();
      this.records.set(type, records);
      if (op === 'put') {
        records.set(id, value);
      } else {
        records.delete(id);
      }
    }
  }
}

interface Party {
  jid: string;
  creds: AuthenticationCreds;
  store: FrameStore;
  signal: ReturnType<Baileys['DEFAULT_CONNECTION_CONFIG']['makeSignalRepository']>;
}

function party(jid: string): Party {
  const store = new FrameStore();
  const creds = decodeValue(encodeValue(baileys.initAuthCreds())) as AuthenticationCreds;
  const keys = baileys.addTransactionCapability(store, quiet, {
    maxCommitRetries: 1,
    delayBetweenTriesMs: 1,
  });
  const signal = baileys.DEFAULT_CONNECTION_CONFIG.makeSignalRepository({ creds, keys }, quiet, undefined);
  return { jid, creds, store, signal };
}

async function introduce(from: Party, to: Party): Promise<void> {
  const { newPreKeys } = baileys.generateOrGetPreKeys(to.creds, 5);
  to.store.set({ 'pre-key': newPreKeys });
  const preKey = to.store.get('pre-key', ['3'])['3'];
  assert.ok(preKey);
  assert.deepEqual(preKey, { public: Buffer.from(preKey.public), private: Buffer.from(preKey.private) });
  const { signedPreKey, signedIdentityKey, registrationId } = to.creds;
  await from.signal.injectE2ESession({
    jid: to.jid,
    session: {
      registrationId,
      identityKey: baileys.generateSignalPubKey(signedIdentityKey.public),
      signedPreKey: {
        keyId: signedPreKey.keyId,
        publicKey: baileys.generateSignalPubKey(signedPreKey.keyPair.public),
        signature: signedPreKey.signature,
      },
      preKey: { keyId: 3, publicKey: baileys.generateSignalPubKey(preKey.public) },
    },
  });
}

async function send(from: Party, to: Party, text: string): Promise<void> {
  const { type, ciphertext } = await from.signal.encryptMessage({ jid: to.jid, data: Buffer.from(text) });
  const plain = await to.signal.decryptMessage({ jid: from.jid, type, ciphertext });
  assert.equal(Buffer.from(plain).toString(), text);
}

const throughJson = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, baileys.BufferJSON.replacer), baileys.BufferJSON.reviver);

/** Every record of the store is what BufferJSON would have made of it. */
function checkStored(store: FrameStore, type: string): unknown[] {
  const values = [...(store.records.get(type)?.values() ?? [])].map((stored) => decodeValue(stored));
  assert.ok(values.length > 0, `there are ${type} records`);
  for (const value of values) {
    assert.deepEqual(throughJson(value), value);
    assert.deepEqual(reviveBufferJson(JSON.stringify(value, baileys.BufferJSON.replacer)), value);
  }
  return values;
}

describe('two parties whose records go through the codec', () => {
  it('talk: session, pre-key and identity-key records', async () => {
    const alice = party('15550001111@s.whatsapp.net');
    const bob = party('15550002222@s.whatsapp.net');
    await introduce(alice, bob);
    await send(alice, bob, 'first');
    assert.equal(bob.store.get('pre-key', ['3'])['3'], undefined, 'the used pre-key is gone');
    await send(bob, alice, 'second');
    for (let round = 0; round < 5; round++) {
      await send(alice, bob, `ping ${round}`);
      await send(bob, alice, `pong ${round}`);
    }

    // Out of order: the keys of the messages in between are kept in the record.
    const late = await alice.signal.encryptMessage({ jid: bob.jid, data: Buffer.from('late') });
    await send(alice, bob, 'early');
    const [session] = checkStored(bob.store, 'session') as [{ _sessions: Record<string, object> }];
    assert.match(JSON.stringify(session), /"messageKeys":\{"\d+":"/);
    const plain = await bob.signal.decryptMessage({ jid: alice.jid, ...late });
    assert.equal(Buffer.from(plain).toString(), 'late');

    checkStored(alice.store, 'session');
    checkStored(bob.store, 'pre-key');
    const [identity] = checkStored(bob.store, 'identity-key');
    assert.deepEqual(
      identity,
      Buffer.from(baileys.generateSignalPubKey(alice.creds.signedIdentityKey.public)),
    );
  });

  it('talk in a group: sender-key and sender-key-memory records', async () => {
    const alice = party('15550001111@s.whatsapp.net');
    const bob = party('15550002222@s.whatsapp.net');
    const group = '120363000000000000@g.us';
    for (const text of ['one', 'two', 'three']) {
      const sent = await alice.signal.encryptGroupMessage({
        group,
        meId: alice.jid,
        data: Buffer.from(text),
      });
      await bob.signal.processSenderKeyDistributionMessage({
        item: { groupId: group, axolotlSenderKeyDistributionMessage: sent.senderKeyDistributionMessage },
        authorJid: alice.jid,
      });
      const plain = await bob.signal.decryptGroupMessage({
        group,
        authorJid: alice.jid,
        msg: sent.ciphertext,
      });
      assert.equal(Buffer.from(plain).toString(), text);
    }
    for (const value of checkStored(bob.store, 'sender-key')) {
      assert.ok(Buffer.isBuffer(value));
    }
    const memory = { [bob.jid]: true, '15550003333:12@s.whatsapp.net': true };
    alice.store.set({ 'sender-key-memory': { [group]: memory } });
    assert.deepEqual(alice.store.get('sender-key-memory', [group]), { [group]: memory });
  });

  it('learn each other’s LIDs: lid-mapping and device-list records', async () => {
    const alice = party('15550001111@s.whatsapp.net');
    await alice.signal.lidMapping.storeLIDPNMappings([
      { lid: '998877665544@lid', pn: '15550002222@s.whatsapp.net' },
    ]);
    assert.equal(checkStored(alice.store, 'lid-mapping').length, 2);
    const fresh = baileys.DEFAULT_CONNECTION_CONFIG.makeSignalRepository(
      {
        creds: alice.creds,
        keys: baileys.addTransactionCapability(alice.store, quiet, {
          maxCommitRetries: 1,
          delayBetweenTriesMs: 1,
        }),
      },
      quiet,
      undefined,
    );
    assert.equal(await fresh.lidMapping.getLIDForPN('15550002222@s.whatsapp.net'), '998877665544@lid');
    alice.store.set({ 'device-list': { '15550002222': ['0', '1', '12'] } });
    assert.deepEqual(alice.store.get('device-list', ['15550002222']), { '15550002222': ['0', '1', '12'] });
  });
});

describe('app state and tokens', () => {
  it('app-state-sync-key comes back as the message that Baileys derives its keys from', () => {
    const { AppStateSyncKeyData } = baileys.proto.Message;
    const store = new FrameStore();
    const received = AppStateSyncKeyData.decode(
      AppStateSyncKeyData.encode({
        keyData: Buffer.alloc(32, 5),
        fingerprint: { rawId: 77, currentIndex: 1, deviceIndexes: [0, 1, 2] },
        timestamp: 1_763_000_000_123,
      }).finish(),
    );
    store.set({ 'app-state-sync-key': { AAAAAOpT: received } });
    const back = store.get('app-state-sync-key', ['AAAAAOpT', 'missing']);
    assert.deepEqual(Object.keys(back), ['AAAAAOpT']);
    const key = back.AAAAAOpT;
    assert.ok(key instanceof AppStateSyncKeyData);
    assert.deepEqual(AppStateSyncKeyData.encode(key).finish(), AppStateSyncKeyData.encode(received).finish());
    assert.ok(Buffer.isBuffer(key.keyData));
    assert.equal(Number(key.timestamp), 1_763_000_000_123);

    // What the multi-file store wrote of the same message: bytes and Long as text.
    const written = JSON.stringify(received, baileys.BufferJSON.replacer);
    const imported = decodeValue(encodeValue(reviveBufferJson(written)));
    const revived = AppStateSyncKeyData.fromObject(imported as Record<string, unknown>);
    assert.deepEqual(
      AppStateSyncKeyData.encode(revived).finish(),
      AppStateSyncKeyData.encode(received).finish(),
    );
  });

  it('app-state-sync-version comes back as the state that patches are checked against', () => {
    const store = new FrameStore();
    const state = {
      ...baileys.newLTHashState(),
      version: 42,
      indexValueMap: Object.fromEntries(
        Array.from({ length: 50 }, (_, index) => [
          baileys.sha256(Buffer.from([index])).toString('base64'),
          { valueMac: new Uint8Array(baileys.sha256(Buffer.from([index, 1]))) },
        ]),
      ),
    };
    store.set({ 'app-state-sync-version': { regular: state } });
    const { regular } = store.get('app-state-sync-version', ['regular']);
    assert.deepEqual(regular, throughJson(state));
    assert.ok(Buffer.isBuffer(regular?.hash));
  });

  it('tctoken', () => {
    const store = new FrameStore();
    const entry = { token: Buffer.from('token'), timestamp: '1763000000', senderTimestamp: 1_763_000_000 };
    const index = { token: Buffer.from(JSON.stringify(['998877665544@lid'])) };
    store.set({ tctoken: { '998877665544@lid': entry, __index: index } });
    assert.deepEqual(store.get('tctoken', ['998877665544@lid', '__index']), {
      '998877665544@lid': entry,
      __index: index,
    });
    store.set({ tctoken: { __index: null } });
    assert.deepEqual(store.get('tctoken', ['__index']), {});
  });
});

describe('creds', () => {
  it('fresh from initAuthCreds are what BufferJSON makes of them', () => {
    const creds = baileys.initAuthCreds();
    assert.deepEqual(decodeValue(encodeValue(creds)), throughJson(creds));
  });

  it('of a paired device still prove its identity', () => {
    const { proto } = baileys;
    const creds = baileys.initAuthCreds();
    const account = proto.ADVSignedDeviceIdentity.decode(
      proto.ADVSignedDeviceIdentity.encode({
        details: proto.ADVDeviceIdentity.encode({ rawId: 1, timestamp: 1_763_000_000, keyIndex: 2 }).finish(),
        accountSignatureKey: Buffer.alloc(32, 1),
        accountSignature: Buffer.alloc(64, 2),
        deviceSignature: Buffer.alloc(64, 3),
      }).finish(),
    );
    const message = proto.WebMessageInfo.decode(
      proto.WebMessageInfo.encode({
        key: { remoteJid: '15550001111@s.whatsapp.net', fromMe: true, id: '3EB0C431C26A1916E07A' },
        messageTimestamp: 1_763_000_000,
      }).finish(),
    );
    Object.assign(creds, {
      account,
      me: { id: '15550001111:12@s.whatsapp.net', lid: '998877665544:12@lid', name: 'José 😀' },
      signalIdentities: [baileys.createSignalIdentity('15550001111:12@s.whatsapp.net', Buffer.alloc(32, 1))],
      processedHistoryMessages: [{ key: message.key, messageTimestamp: message.messageTimestamp }],
      routingInfo: Buffer.from([8, 2]),
    });
    const back = decodeValue(encodeValue(creds)) as AuthenticationCreds;
    assert.deepEqual(back.account && { ...back.account }, {
      details: Buffer.from(account.details ?? []),
      accountSignatureKey: Buffer.alloc(32, 1),
      accountSignature: Buffer.alloc(64, 2),
      deviceSignature: Buffer.alloc(64, 3),
    });
    for (const withKey of [true, false]) {
      assert.deepEqual(
        baileys.encodeSignedDeviceIdentity(back.account as typeof account, withKey),
        baileys.encodeSignedDeviceIdentity(account, withKey),
      );
    }
    const [processed] = back.processedHistoryMessages;
    assert.deepEqual(processed?.key, {
      remoteJid: '15550001111@s.whatsapp.net',
      fromMe: true,
      id: '3EB0C431C26A1916E07A',
    });
    assert.equal(baileys.toNumber(processed?.messageTimestamp), 1_763_000_000);
    const { account: _, processedHistoryMessages: __, ...rest } = back;
    assert.deepEqual({ ...(throughJson(creds) as object), ...rest }, throughJson(creds));
  });
});
