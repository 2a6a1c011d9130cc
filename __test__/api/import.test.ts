import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { RecordEntry } from '../../lib/codec/index.js';
import { ConfigError, CorruptRecordError, StorageError } from '../../lib/errors.js';
import { recordNamesOf } from '../../lib/import/file-names.js';
import { readCreds, readFolder } from '../../lib/import/multi-file.js';
import { surveyFolder } from '../../lib/import/survey.js';
import type { LogSink } from '../../lib/options/logger.js';

const silent = () => {};

/** The records that an import of `folder` would store. */
async function recordsOf(folder: string, log: LogSink = silent): Promise<RecordEntry[]> {
  const survey = await surveyFolder(folder);
  const creds = await readCreds(folder, survey, log);
  return creds === undefined ? [] : (await readFolder(folder, survey, creds, log)).records;
}

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
    const records = await recordsOf(folder);
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
    const record = (await recordsOf(folder)).find(({ type }) => type === 'app-state-sync-key');
    assert.equal(record?.id, 'A//B');
    const revived = proto.Message.AppStateSyncKeyData.fromObject(record?.value as object);
    assert.deepEqual(revived, (await get('app-state-sync-key', ['A//B']))['A//B']);
  });

  it('may be empty, missing, or hold other files', async () => {
    assert.deepEqual(await recordsOf(join(root, 'missing')), []);
    const folder = await freshFolder();
    await writeFile(join(folder, 'notes.txt'), 'hello');
    await writeFile(join(folder, 'package.json'), '{torn');
    assert.deepEqual(await recordsOf(folder), []);
  });

  it('takes null for absent, as Baileys does', async () => {
    const { folder } = await written();
    await writeFile(join(folder, 'session-1.0.json'), 'null');
    assert.equal((await recordsOf(folder)).length, 1);
  });

  it('keeps keys of a type that nobody knows, and says so', async () => {
    const { folder } = await written({ 'new-type': { 5: 'x' }, bridge: { 6: { key: bytes(4) } } });
    const said: unknown[] = [];
    const records = await recordsOf(folder, (level, _message, fields) => said.push([level, fields.file]));
    assert.deepEqual(
      records.slice(1).sort((a, b) => a.type.localeCompare(b.type)),
      [
        { type: 'bridge', id: '6', value: { key: Buffer.from(bytes(4)) } },
        { type: 'new', id: 'type-5', value: 'x' },
        { type: 'new-type', id: '5', value: 'x' },
      ],
    );
    assert.deepEqual(said.sort(), [
      ['warn', 'bridge-6.json'],
      ['warn', 'new-type-5.json'],
    ]);
  });

  it("leaves alone what is not Baileys', and tells it once", async () => {
    const { folder } = await written({ session: { '1.0': bytes(3) } });
    const others = {
      'package-lock.json': '{"name":"bot","lockfileVersion":3}',
      'users-2024.json': '[{"id":5,"name":"a"}]',
      'half-written.json': '{"a":',
      'creds-backup.json': '{torn',
      'session-1.0.json.bak.old': '{}',
      '.session-2.0.json': '"x"',
      '._creds.json': '\0\0',
      'notes.txt': 'hello',
    };
    for (const [name, content] of Object.entries(others)) {
      await writeFile(join(folder, name), content);
    }
    await mkdir(join(folder, 'session-9.0.json'));
    const said: Record<string, unknown>[] = [];
    const records = await recordsOf(folder, (level, _message, fields) => said.push({ level, ...fields }));
    assert.deepEqual(records.slice(1), [{ type: 'session', id: '1.0', value: Buffer.from(bytes(3)) }]);
    assert.deepEqual(
      said.map(({ level, names }) => [level, names]),
      [['warn', [...Object.keys(others), 'session-9.0.json'].sort()]],
    );
  });

  it('is whole while a file of it is being replaced: what it was before counts', async () => {
    const { folder, creds } = await written({
      session: { '1.0': 'one', '2.0': 'two', '3.0': 'three', '4.0': 'four' },
    });
    const at = (name: string) => join(folder, name);
    // Where the writer was killed: before it renamed anything, between the two renames, and after both.
    await writeFile(at('session-1.0.json.tmp'), '"onl');
    await rename(at('session-2.0.json'), at('session-2.0.json.bak'));
    await writeFile(at('session-2.0.json.tmp'), '"newer"');
    await rename(at('session-3.0.json'), at('session-3.0.json.bak'));
    await writeFile(at('session-3.0.json'), '"newer"');
    await rename(at('session-4.0.json'), at('session-4.0.json.bak'));
    await writeFile(at('session-4.0.json'), '');
    await writeFile(at('session-5.0.json.tmp'), '"never there"');
    await rename(at('creds.json'), at('creds.json.bak'));
    const records = await recordsOf(folder);
    assert.deepEqual(
      records
        .slice(1)
        .map(({ id, value }) => [id, value])
        .sort(),
      [
        ['1.0', 'one'],
        ['2.0', 'two'],
        ['3.0', 'newer'],
        ['4.0', 'four'],
      ],
    );
    assert.deepEqual(records[0]?.value, JSON.parse(JSON.stringify(creds), reviver));
    await writeFile(at('creds.json'), '{"noiseKey":');
    assert.equal((await recordsOf(folder)).length, 5);
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
    ['creds with a short key', 'creds.json', 'SHORT'],
    ['creds with a negative registrationId', 'creds.json', 'NEGATIVE'],
  ];
  for (const [name, file, content] of torn) {
    it(`${name}: is an error naming the file`, async () => {
      const { folder, creds } = await written({ session: { '2.0': bytes(3) } });
      const { noiseKey } = creds as { noiseKey: object };
      const broken: Record<string, object> = {
        SHORT: { ...(creds as object), noiseKey: { ...noiseKey, private: Buffer.alloc(31) } },
        NEGATIVE: { ...(creds as object), registrationId: -1 },
      };
      await writeFile(join(folder, file), content in broken ? JSON.stringify(broken[content]) : content);
      await assert.rejects(recordsOf(folder), (error) => {
        assert.ok(error instanceof CorruptRecordError);
        assert.equal(error.recordId, file);
        assert.equal(error.details.file, join(folder, file));
        assert.match(
          error.message,
          file === 'creds.json' ? /restore it/ : /remove it: that chat will be negotiated anew/,
        );
        assert.doesNotMatch(error.message, /Buf|"public/);
        return true;
      });
    });
  }

  const strange: [name: string, content: (text: string) => Buffer, says: RegExp][] = [
    ['begins with a byte order mark', (text) => Buffer.from(`\ufeff${text}`), /byte order mark \(BOM\)/],
    ['is UTF-16', (text) => Buffer.from(`\ufeff${text}`, 'utf16le'), /UTF-16/],
    ['is UTF-16 without a mark', (text) => Buffer.from(text, 'utf16le'), /UTF-16/],
    ['is big-endian UTF-16', (text) => Buffer.from(text, 'utf16le').swap16(), /UTF-16/],
    ['is Latin-1', (text) => Buffer.from(`${text.slice(0, -1)},"a":"\xe9"}`, 'latin1'), /not UTF-8/],
    ['is nothing but zeros', (text) => Buffer.alloc(text.length), /zeros/],
  ];
  for (const [name, content, says] of strange) {
    it(`a file that ${name}: is told as such`, async () => {
      for (const file of ['creds.json', 'session-2.0.json']) {
        const { folder } = await written({ session: { '2.0': { a: 1 } } });
        const text = await readFile(join(folder, file), 'utf8');
        await writeFile(join(folder, file), content(text));
        await assert.rejects(recordsOf(folder), { code: 'CORRUPT_RECORD', recordId: file, message: says });
      }
    });
  }

  it('a path that is a file: is an error naming the option', async () => {
    const file = join(root, 'a-file');
    await writeFile(file, '');
    await assert.rejects(
      recordsOf(file),
      (error) => error instanceof ConfigError && error.field === 'folder',
    );
  });

  it('creds that cannot be read: is an error naming them', async () => {
    const { folder } = await written();
    await rm(join(folder, 'creds.json'));
    await mkdir(join(folder, 'creds.json'));
    await assert.rejects(recordsOf(folder), (error) => {
      assert.ok(error instanceof StorageError);
      assert.equal(error.code, 'STORAGE_UNAVAILABLE');
      assert.match(error.message, /creds\.json/);
      return true;
    });
  });

  it('a folder that cannot be read: is an error naming it', {
    skip: process.getuid?.() === 0 && 'root may read everything',
  }, async () => {
    const { folder } = await written();
    await chmod(folder, 0o000);
    await assert.rejects(recordsOf(folder), { code: 'STORAGE_UNAVAILABLE' });
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
