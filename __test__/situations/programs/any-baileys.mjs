/**
 * A bot's start with whichever Baileys its project has: `node any-baileys.mjs <folder> <base64 of the key>`. Stores the
 * app state key as it arrives from the phone, and as a release with another JSON would have left it; says what is there.
 */
import * as module from 'baileys';
import { useMultiFileAuthState } from 'baileys-vault';

const baileys = module.proto === undefined ? module.default : module;
const { proto, BufferJSON, addTransactionCapability } = baileys;
const { AppStateSyncKeyData } = proto.Message;

const [folder, key] = process.argv.slice(2);
const silent = () => {};
const logger = {
  trace: silent,
  debug: silent,
  info: silent,
  warn: silent,
  error: silent,
  child: () => logger,
};

const { state, saveCreds, store } = await useMultiFileAuthState(folder);
const keys = addTransactionCapability(state.keys, logger, { maxCommitRetries: 1, delayBetweenTriesMs: 1 });

const made = AppStateSyncKeyData.create({
  keyData: Buffer.from(key, 'base64'),
  fingerprint: { rawId: 1_234_567_890, currentIndex: 1, deviceIndexes: [0, 1, 2] },
  timestamp: 1_735_689_600_000,
});
const wire = AppStateSyncKeyData.encode(made).finish();
const arrived = AppStateSyncKeyData.decode(wire);
// As JSON of releases whose messages have a toJSON leaves it: bytes as base64, Long as text.
const older = { keyData: key, fingerprint: { ...made.fingerprint }, timestamp: '1735689600000' };

const seen = {};
for (const id of ['arrived', 'older']) {
  const { [id]: found } = await state.keys.get('app-state-sync-key', [id]);
  if (found !== undefined) seen[id] = describe(found);
}
await keys.transaction(async () => {
  await keys.set({ 'app-state-sync-key': { arrived, older } });
}, 'test');
state.creds.account ??= proto.ADVSignedDeviceIdentity.decode(
  proto.ADVSignedDeviceIdentity.encode(
    proto.ADVSignedDeviceIdentity.create({ details: Buffer.from(key, 'base64') }),
  ).finish(),
);
await saveCreds();
const now = await keys.get('app-state-sync-key', ['arrived', 'older']);

function describe(found) {
  return {
    message: found instanceof AppStateSyncKeyData,
    wire: Buffer.from(AppStateSyncKeyData.encode(found).finish()).equals(Buffer.from(wire)),
    bytes: Buffer.isBuffer(found.keyData) && found.keyData.toString('base64') === key,
  };
}

console.log(
  JSON.stringify({
    before: seen,
    now: { arrived: describe(now.arrived), older: describe(now.older) },
    identity: JSON.stringify(state.creds.signedIdentityKey, BufferJSON.replacer),
    details: Buffer.from(state.creds.account.details).toString('base64'),
  }),
);
await store.close();
