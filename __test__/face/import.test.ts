import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { decodeValue } from '../../lib/codec/index.js';
import { ConfigError, CorruptRecordError, StorageError } from '../../lib/errors.js';
import { recordNamesOf } from '../../lib/import/file-names.js';
import { importFolder, readFolder } from '../../lib/import/multi-file.js';

const silent = () => {};
let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'vault-import-'));
});
after(() => rm(root, { recursive: true, force: true }));

let count = 0;
async function freshFolder(): Promise<string> {
  count += 1;
  const folder = join(root, String(count));
  await mkdir(folder);
  return folder;
}

/** A folder in which Baileys' own function stored creds and `keys`. */
async function written(keys: object = {}): Promise<{ folder: string; get: BaileysGet; creds: unknown }> {
  const { useMultiFileAuthState } = await import('baileys');
  const folder = await freshFolder();
  const { state, saveCreds } = await useMultiFileAuthState(folder);
  await saveCreds();
  await state.keys.set(keys);
  const get = state.keys.get as unknown as BaileysGet;
  return { folder, get, creds: state.creds };
}
type BaileysGet = (type: string, ids: string[]) => Promise<Record<string, unknown>>;

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index);

/** Ids as Baileys makes them, of each type. */
const IDS: Record<string, string[]> = {
  'pre-key': ['1', '16777215'],
  session: ['5511999999999.0', '5511999999999.12', '123456789012345_1.0', '5511999999999_128.99'],
  'identity-key': ['5511999999999.0', '123456789012345_1.3', '123_129.99'],
  'sender-key': [
    '120363025246125486@g.us::5511999999999::0',
    '5511999999999-1400000000@g.us::5511888888888::12',
    '5511999999999-1400000000@g.us::123456789012345_1::3',
    'status@broadcast::123456789012345_1::0',
  ],
  'sender-key-memory': [
    '120363025246125486@g.us',
    '5511999999999-1400000000@g.us',
    'status@broadcast',
    '5511999999999:12@s.whatsapp.net',
    '123456789012345:3@lid',
  ],
  'app-state-sync-key': ['AAAAAEfn', 'AAAAAA/=', '////', 'AA+/AA==', 'A//B'],
  'app-state-sync-version': [
    'critical_block',
    'critical_unblock_low',
    'regular_high',
    'regular_low',
    'regular',
  ],
  'lid-mapping': ['5511999999999', '123456789012345_reverse'],
  'device-list': ['5511999999999', '123456789012345'],
  tctoken: ['5511999999999@s.whatsapp.net', '123456789012345@lid', '__index', '5511999999999:3@hosted'],
};

describe('names of files', () => {
  it('give back each id that Baileys mangled into them', async () => {
    for (const [type, ids] of Object.entries(IDS)) {
      for (const id of ids) {
        const file = `${type}-${id}`.replace(/\//g, '__').replace(/:/g, '-');
        assert.deepEqual(recordNamesOf(file), { known: true, names: [{ type, id }] }, file);
      }
    }
  });

  it('give one name for each place where an unknown type may end', () => {
    assert.deepEqual(recordNamesOf('new-type-5'), {
      known: false,
      names: [
        { type: 'new', id: 'type-5' },
        { type: 'new-type', id: '5' },
      ],
    });
    assert.deepEqual(recordNamesOf('baileys_store').names, []);
    assert.deepEqual(recordNamesOf('creds-backup').names, []);
  });

  it('are those of sessions that libsignal and Baileys name', async () => {
    const { ProtocolAddress } = (await import('libsignal' as string)) as {
      ProtocolAddress: new (id: string, device: number) => { toString(): string };
    };
    const address = new ProtocolAddress('123456789012345_1', 7).toString();
    assert.deepEqual(recordNamesOf(`session-${address}`).names, [{ type: 'session', id: address }]);
    const { SenderKeyName } = (await import('baileys/lib/Signal/Group/index.js' as string)) as {
      SenderKeyName: new (group: string, sender: { id: string; deviceId: number }) => { toString(): string };
    };
    const name = new SenderKeyName('1-2@g.us', { id: '3_1', deviceId: 4 }).toString();
    const file = `sender-key-${name.replace(/:/g, '-')}`;
    assert.deepEqual(recordNamesOf(file).names, [{ type: 'sender-key', id: name }]);
  });
});

describe('a folder of useMultiFileAuthState', () => {
  it('is read record by record as Baileys reads it', async () => {
    const values: Record<string, (id: string) => unknown> = {
      session: (id) => ({ _sessions: { [id]: { currentRatchet: { rootKey: 'AAAA' } } }, version: 'v1' }),
      'pre-key': () => ({ public: bytes(32), private: bytes(32) }),
      'sender-key-memory': () => ({ '5511999999999:3@s.whatsapp.net': true }),
      'lid-mapping': (id) => id,
      'device-list': () => ['0', '3'],
      'app-state-sync-version': () => ({ version: 4, hash: Buffer.from(bytes(128)), indexValueMap: {} }),
    };
    const keys = Object.fromEntries(
      Object.entries(IDS).map(([type, ids]) => [
        type,
        Object.fromEntries(ids.map((id) => [id, values[type]?.(id) ?? Buffer.from(`${type} ${id}`)])),
      ]),
    );
    const { 'app-state-sync-key': _, ...plain } = keys;
    const { folder, get, creds } = await written(plain);
    const records = await readFolder(folder, silent);
    assert.equal(records.length, 1 + Object.values(plain).flatMap(Object.keys).length);
    for (const { type, id, value } of records) {
      if (type === 'creds') {
        assert.equal(id, '');
        assert.deepEqual(value, JSON.parse(JSON.stringify(creds), reviver));
      } else {
        assert.deepEqual({ type, id, value }, { type, id, value: (await get(type, [id]))[id] });
      }
    }
  });

  it('gives app state keys that Baileys can use', async () => {
    const { proto } = await import('baileys');
    const key = proto.Message.AppStateSyncKeyData.fromObject({ keyData: bytes(32), timestamp: 5 });
    const { folder, get } = await written({ 'app-state-sync-key': { 'A//B': key } });
    const record = (await readFolder(folder, silent)).find(({ type }) => type === 'app-state-sync-key');
    assert.equal(record?.id, 'A//B');
    const revived = proto.Message.AppStateSyncKeyData.fromObject(record?.value as object);
    assert.deepEqual(revived, (await get('app-state-sync-key', ['A//B']))['A//B']);
  });

  it('goes into the session in one patch, and is left as it was', async () => {
    const { folder } = await written({ 'lid-mapping': { a: 'b' }, session: { '1.0': bytes(3) } });
    const content = async () =>
      Promise.all(
        (await readdir(folder))
          .sort()
          .map(async (file) => [file, await readFile(join(folder, file), 'utf8')]),
      );
    const before = await content();
    const frames: Buffer[] = [];
    const importOnce = async (frame: Buffer, length: number) => {
      frames.push(Buffer.from(frame.subarray(0, length)));
      return true;
    };
    await importFolder({ openedAt: 0, importOnce }, folder, silent);
    assert.equal(frames.length, 1);
    const found: Record<string, unknown> = {};
    const frame = frames[0] as Buffer;
    for (let at = 0; at < frame.length; ) {
      const idAt = at + 8 + (frame[at + 1] as number);
      const valueAt = idAt + frame.readUInt16LE(at + 2);
      const end = valueAt + frame.readUInt32LE(at + 4);
      found[`${frame.toString('utf8', at + 8, idAt)}/${frame.toString('utf8', idAt, valueAt)}`] = decodeValue(
        frame,
        valueAt,
        end,
      );
      at = end;
    }
    assert.deepEqual(Object.keys(found).sort(), ['creds/', 'lid-mapping/a', 'session/1.0']);
    assert.deepEqual(found['session/1.0'], Buffer.from(bytes(3)));
    assert.deepEqual(await content(), before);
  });

  it('is not read again once the session has been written', async () => {
    const { folder } = await written();
    await writeFile(join(folder, 'creds.json'), '{torn');
    const importOnce = () => assert.fail('imported twice');
    await importFolder({ openedAt: 1, importOnce }, folder, silent);
  });

  it('may be empty, missing, or hold other files', async () => {
    assert.deepEqual(await readFolder(join(root, 'missing'), silent), []);
    const folder = await freshFolder();
    await writeFile(join(folder, 'notes.txt'), 'hello');
    await writeFile(join(folder, 'package.json'), '{torn');
    assert.deepEqual(await readFolder(folder, silent), []);
  });

  it('takes null for absent, as Baileys does', async () => {
    const { folder } = await written();
    await writeFile(join(folder, 'session-1.0.json'), 'null');
    assert.equal((await readFolder(folder, silent)).length, 1);
  });

  it('keeps a type that nobody knows, and says so', async () => {
    const { folder } = await written({ 'new-type': { 5: 'x' } });
    const said: unknown[] = [];
    const records = await readFolder(folder, (level, _message, fields) => said.push([level, fields.file]));
    assert.deepEqual(records.slice(1), [
      { type: 'new', id: 'type-5', value: 'x' },
      { type: 'new-type', id: '5', value: 'x' },
    ]);
    assert.deepEqual(said, [['warn', 'new-type-5.json']]);
  });
});

describe('a folder that is not whole', () => {
  const torn: [name: string, file: string, content: string][] = [
    ['empty creds', 'creds.json', ''],
    ['torn creds', 'creds.json', '{"noiseKey":{"private":{"type":"Buf'],
    ['creds that are null', 'creds.json', 'null'],
    ['creds without keys', 'creds.json', '{"me":{"id":"1"}}'],
    ['an empty key file', 'session-1.0.json', ''],
    ['a torn key file', 'pre-key-5.json', '{"public":'],
    ['a torn file of an unknown type', 'new-type-5.json', '{"public":'],
  ];
  for (const [name, file, content] of torn) {
    it(`${name}: is an error naming the file, and nothing is imported`, async () => {
      const { folder } = await written({ session: { '2.0': bytes(3) } });
      await writeFile(join(folder, file), content);
      const importOnce = () => assert.fail('imported');
      await assert.rejects(importFolder({ openedAt: 0, importOnce }, folder, silent), (error) => {
        assert.ok(error instanceof CorruptRecordError);
        assert.equal(error.recordId, file);
        assert.equal(error.details.file, join(folder, file));
        assert.doesNotMatch(error.message, /Buf|public/);
        return true;
      });
    });
  }

  it('key files without creds: is an error, not a new identity', async () => {
    const { folder } = await written({ session: { '2.0': bytes(3) } });
    await rm(join(folder, 'creds.json'));
    await assert.rejects(readFolder(folder, silent), { code: 'CORRUPT_RECORD', message: /restore it/ });
  });

  it('a path that is a file: is an error naming the option', async () => {
    const file = join(root, 'a-file');
    await writeFile(file, '');
    await assert.rejects(
      readFolder(file, silent),
      (error) => error instanceof ConfigError && error.field === 'folder',
    );
  });

  it('a file that cannot be read: is an error naming it', async () => {
    const { folder } = await written();
    await mkdir(join(folder, 'session-1.0.json'));
    await assert.rejects(readFolder(folder, silent), (error) => {
      assert.ok(error instanceof StorageError);
      assert.equal(error.code, 'STORAGE_UNAVAILABLE');
      assert.match(error.message, /session-1\.0\.json/);
      return true;
    });
  });

  it('a folder that cannot be read: is an error naming it', {
    skip: process.getuid?.() === 0 && 'root may read everything',
  }, async () => {
    const { folder } = await written();
    await chmod(folder, 0o000);
    await assert.rejects(readFolder(folder, silent), { code: 'STORAGE_UNAVAILABLE' });
    await chmod(folder, 0o700);
  });
});

function reviver(_key: string, value: unknown): unknown {
  if (typeof value === 'object' && value !== null) {
    const { type, data } = value as { type?: unknown; data?: unknown };
    const keys = Object.keys(value);
    if (type === 'Buffer') {
      return Buffer.from(data as number[]);
    }
    if (keys.length > 0 && keys.every((key, index) => key === String(index))) {
      return Buffer.from(Object.values(value) as number[]);
    }
  }
  return value;
}
