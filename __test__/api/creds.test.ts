import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { runInNewContext } from 'node:vm';
import { checkCreds } from '../../lib/baileys/creds.js';
import { decodeValue, encodeValue } from '../../lib/codec/index.js';
import { importBaileys } from '../../lib/conformance/baileys.js';
import { makePairedCreds } from '../../lib/conformance/samples.js';

type Creds = Record<string, unknown>;
type Baileys = Awaited<ReturnType<typeof importBaileys>>;

/** Every release of Baileys that the tests have. */
const RELEASES = ['baileys-6', 'baileys-rc4', 'baileys-rc9', 'baileys'];

let baileys: Baileys;
let creds: Creds;
before(async () => {
  baileys = await importBaileys((await import('baileys')) as object);
  creds = decodeValue(encodeValue(makePairedCreds(baileys))) as Creds;
});

/** `creds` with what is at `path` replaced; dropped when `value` is undefined. */
function changed(path: string, value: unknown): Creds {
  const copy = decodeValue(encodeValue(creds)) as Creds;
  const names = path.split('.');
  const last = names.pop() as string;
  let holder = copy;
  for (const name of names) {
    holder = holder[name] as Creds;
  }
  if (value === undefined) {
    delete holder[last];
  } else {
    holder[last] = value;
  }
  return copy;
}

describe('credentials', () => {
  for (const release of RELEASES) {
    it(`of ${release} pass: new, paired, stored and as JSON leaves them`, async () => {
      const module = (await import(release)) as object;
      const made = module as Baileys;
      const { replacer, reviver } = made.BufferJSON;
      const { proto } = made as unknown as {
        proto: { ADVSignedDeviceIdentity: { create(v: object): unknown } };
      };
      const paired = {
        ...made.initAuthCreds(),
        me: { id: '15550001111:7@s.whatsapp.net', lid: '161803398874989:7@lid', name: 'Zoë' },
        account: proto.ADVSignedDeviceIdentity.create({ details: Buffer.alloc(20, 1) }),
        signalIdentities: [made.createSignalIdentity('15550001111:7@s.whatsapp.net', Buffer.alloc(32, 2))],
        registered: true,
      };
      for (const value of [made.initAuthCreds(), paired]) {
        assert.equal(checkCreds(value), undefined);
        assert.equal(checkCreds(decodeValue(encodeValue(value))), undefined);
        const text = JSON.stringify(value, replacer);
        assert.equal(checkCreds(JSON.parse(text, reviver)), undefined);
        assert.equal(checkCreds(JSON.parse(text)), undefined, 'not revived');
        assert.equal(checkCreds(JSON.parse(JSON.stringify(value))), undefined, 'without the replacer');
      }
    });
  }

  it('pass in whatever bytes, and whatever realm, they are', () => {
    const foreign = runInNewContext(
      '({ ...creds, noiseKey: { private: new Uint8Array(32), public: new Uint8Array(32) } })',
      {
        creds,
      },
    );
    assert.equal(checkCreds(foreign), undefined);
    for (const path of ['noiseKey.public', 'signedIdentityKey.public', 'signedPreKey.keyPair.public']) {
      assert.equal(checkCreds(changed(path, baileys.generateSignalPubKey(Buffer.alloc(32, 7)))), undefined);
    }
    assert.equal(checkCreds(changed('noiseKey.private', new Uint8Array(32))), undefined);
    assert.equal(checkCreds(changed('noiseKey.private', new DataView(new ArrayBuffer(32)))), undefined);
  });

  it('pass without what older releases did not make', () => {
    for (const path of ['pairingEphemeralKeyPair', 'registered', 'accountSyncCounter', 'me', 'pairingCode']) {
      assert.equal(checkCreds(changed(path, undefined)), undefined, path);
      assert.equal(checkCreds(changed(path, null)), undefined, path);
    }
  });

  it('are refused where a part is missing or of another kind, by its path', () => {
    const keyPairs = ['noiseKey', 'signedIdentityKey', 'pairingEphemeralKeyPair', 'signedPreKey.keyPair'];
    const keys = keyPairs.flatMap((pair) => [`${pair}.private`, `${pair}.public`]);
    const wrongBytes = [
      undefined,
      null,
      'x'.repeat(32),
      5,
      {},
      [],
      Buffer.alloc(31),
      Buffer.alloc(34),
      new Map(),
    ];
    const wrongNumber = [undefined, null, -1, 1.5, Number.NaN, '7', 7n, 2 ** 53, {}];
    const wrongObject = [null, 'x', 5, [], Buffer.alloc(32), new Map(), Promise.resolve(), true];
    const table: [paths: string[], values: unknown[]][] = [
      [keys, wrongBytes],
      [keys.filter((key) => key.endsWith('private')), [Buffer.alloc(33, 5)]],
      [keys.filter((key) => key.endsWith('public')), [Buffer.alloc(33, 6)]],
      [['signedPreKey.signature'], [...wrongBytes, Buffer.alloc(32)]],
      [['registrationId', 'nextPreKeyId', 'firstUnuploadedPreKeyId', 'signedPreKey.keyId'], wrongNumber],
      [['advSecretKey'], [undefined, null, '', 5, Buffer.alloc(32), {}]],
      [
        ['noiseKey', 'signedIdentityKey', 'signedPreKey', 'signedPreKey.keyPair'],
        [undefined, ...wrongObject],
      ],
      [
        ['me', 'pairingEphemeralKeyPair'],
        ['x', 5, [], Buffer.alloc(32), true],
      ],
    ];
    for (const [paths, values] of table) {
      for (const path of paths) {
        for (const value of values) {
          const found = checkCreds(changed(path, value));
          assert.equal(found?.path, `creds.${path}`);
          assert.match(found?.problem ?? '', /^expected /);
        }
      }
    }
  });

  it('are refused where they are no object at all', () => {
    for (const value of [
      undefined,
      null,
      'x',
      5,
      true,
      [],
      Buffer.alloc(5),
      new Map(),
      new Date(),
      Symbol('x'),
    ]) {
      assert.equal(checkCreds(value)?.path, 'creds');
    }
    assert.deepEqual(checkCreds(Promise.resolve(creds)), {
      path: 'creds',
      problem: 'expected an object, got Promise',
    });
    assert.equal(checkCreds({})?.path, 'creds.noiseKey');
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    assert.equal(checkCreds(proxy)?.path, 'creds');
  });

  it('are never quoted in what is said of them', () => {
    const secret = 'c2VjcmV0'.repeat(4);
    for (const path of ['noiseKey.private', 'registrationId', 'signedPreKey', 'me']) {
      assert.doesNotMatch(JSON.stringify(checkCreds(changed(path, secret))), /c2Vj/);
    }
  });
});
