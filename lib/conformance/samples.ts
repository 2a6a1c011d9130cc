import { randomBytes } from 'node:crypto';
import type { AuthenticationCreds } from '../baileys/types.js';
import { type Baileys, makeMessage } from './baileys.js';
import { MemoryKeys, Party } from './party.js';

const ALICE = '15550001111@s.whatsapp.net';
const BOB = '15550002222@s.whatsapp.net';
const LID = '271828182845904@lid';

/** A record as Baileys hands it to a key store. */
interface Sample {
  type: string;
  id: string;
  value: unknown;
}

/** Records of every type, made by Baileys and libsignal themselves. */
export async function makeSamples(baileys: Baileys): Promise<Sample[]> {
  const alice = Party.inMemory(baileys, ALICE);
  const bob = Party.inMemory(baileys, BOB);
  await converse(alice, bob);
  await alice.signal.lidMapping?.storeLIDPNMappings([{ lid: LID, pn: BOB }]);
  const memory = new MemoryKeys();
  const { keyId, keyData } = makeAppStateKey(baileys);
  const version = await makeAppStateVersion(baileys, keyId, keyData);
  await memory.set({
    'sender-key-memory': {
      '120363025246125486@g.us': { [ALICE]: true, '15550003333:12@s.whatsapp.net': true },
    },
    'app-state-sync-key': { [keyId]: keyData },
    'app-state-sync-version': { critical_unblock_low: version, regular: baileys.newLTHashState() },
    // Also without the mapping store, which older releases of Baileys do not have.
    'lid-mapping': { 15550003333: '314159265358979', '314159265358979_reverse': '15550003333' },
    'device-list': { 15550002222: ['0', '1', '23'], 15550003333: [] },
    tctoken: {
      [BOB]: { token: randomBytes(16), timestamp: '1735689600' },
      [LID]: { token: randomBytes(16), timestamp: '1735689601', senderTimestamp: 1_735_689_602 },
    },
    'identity-key': { '15550003333.0': baileys.generateSignalPubKey(baileys.Curve.generateKeyPair().public) },
  });
  return [alice.memory, memory].flatMap(samplesOf);
}

function samplesOf(memory: MemoryKeys): Sample[] {
  return [...memory.records].flatMap(([type, group]) =>
    [...group].map(([id, value]) => ({ type, id, value })),
  );
}

/** Messages both ways, some of which never arrive, and a group: sessions with several chains and skipped keys. */
async function converse(alice: Party, bob: Party): Promise<void> {
  await alice.publish();
  await alice.meet(bob);
  for (const round of [1, 2, 3]) {
    await alice.tell(bob, `to bob ${round}`);
    await lose(bob, alice, round);
    await bob.tell(alice, `to alice ${round}`);
    await lose(alice, bob, round);
  }
  await alice.tellGroup(bob, 'to all');
  await bob.tellGroup(alice, 'to all again');
}

/** Messages that `to` keeps the keys of until they arrive. */
async function lose(from: Party, to: Party, count: number): Promise<void> {
  for (let n = 0; n < count; n++) {
    await from.signal.encryptMessage({ jid: to.jid, data: Buffer.from('lost') });
  }
}

/** A key for app state, as it comes out of a message from the phone. */
export function makeAppStateKey(baileys: Baileys): { keyId: string; keyData: unknown } {
  const { AppStateSyncKeyData } = baileys.proto.Message;
  const made = makeMessage(AppStateSyncKeyData, {
    keyData: randomBytes(32),
    fingerprint: { rawId: 1_234_567_890, currentIndex: 1, deviceIndexes: [0, 1, 2] },
    timestamp: 1_735_689_600_000,
  });
  const keyData = AppStateSyncKeyData.decode(AppStateSyncKeyData.encode(made).finish());
  // A `/` is in a base64 id sooner or later, so put one there for sure.
  return { keyId: `AAAA/${randomBytes(3).toString('base64')}+8=`, keyData };
}

async function makeAppStateVersion(baileys: Baileys, keyId: string, keyData: unknown): Promise<object> {
  let state = baileys.newLTHashState();
  for (let chat = 0; chat < 20; chat++) {
    ({ state } = await baileys.encodeSyncdPatch(mutePatch(chat), keyId, state, async () => keyData));
  }
  return state;
}

/** A change of app state: a chat is muted. */
export const mutePatch = (chat: number): object => ({
  type: 'critical_unblock_low',
  index: ['mute', `1555${String(chat).padStart(7, '0')}@s.whatsapp.net`],
  syncAction: { timestamp: 1_735_689_600_000, muteAction: { muted: true } },
  apiVersion: 2,
  operation: 0,
});

/** Credentials as they are after pairing and some use. */
export function makePairedCreds(baileys: Baileys): AuthenticationCreds {
  const { proto, Curve } = baileys;
  const accountKey = Curve.generateKeyPair().public;
  const account = makeMessage(proto.ADVSignedDeviceIdentity, {
    details: randomBytes(20),
    accountSignatureKey: Buffer.from(accountKey),
    accountSignature: randomBytes(64),
    deviceSignature: randomBytes(64),
  });
  return Object.assign(baileys.initAuthCreds(), {
    me: { id: '15550001111:7@s.whatsapp.net', lid: '161803398874989:7@lid', name: 'Zoë 🌋' },
    account: proto.ADVSignedDeviceIdentity.decode(proto.ADVSignedDeviceIdentity.encode(account).finish()),
    signalIdentities: [baileys.createSignalIdentity('15550001111:7@s.whatsapp.net', accountKey)],
    platform: 'android',
    registered: true,
    routingInfo: Buffer.from([8, 2, 8, 5]),
    lastPropHash: '3gPhv1',
    lastAccountSyncTimestamp: 1_735_689_600,
    myAppStateKeyId: 'AAAA/1Bs',
    nextPreKeyId: 813,
    firstUnuploadedPreKeyId: 813,
    accountSyncCounter: 1,
    accountSettings: {
      unarchiveChats: false,
      defaultDisappearingMode: { ephemeralExpiration: 0, ephemeralSettingTimestamp: 0 },
    },
    processedHistoryMessages: [
      { key: { remoteJid: ALICE, fromMe: true, id: '3EB0C431C2' }, messageTimestamp: 1_735_689_600 },
    ],
    additionalData: { bytes: randomBytes(5) },
  }) as unknown as AuthenticationCreds;
}
