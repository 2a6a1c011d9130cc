/** What cannot be opened is a typed error, never a new identity, and stays byte for byte what it was. */
import assert from 'node:assert/strict';
import { mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fingerprint, light, makeFolder } from './support.js';

const OTHER_KEY = '0ddba11'.repeat(10).slice(0, 64);

interface Expected {
  code: string;
  /** Name of the class, one of those that the package exports. */
  name: string;
  message?: RegExp;
}

/** Fails unless opening is refused, twice alike, and nothing in the folder has changed. */
async function refuses(location: string, open: () => Promise<unknown>, expected: Expected): Promise<void> {
  const { vault } = await light();
  const before = await fingerprint(location);
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(open, (error: unknown) => {
      assert.ok(error instanceof vault.StorageError, `no StorageError: ${error}`);
      const { code, name, message } = error;
      assert.deepEqual({ code, name }, { code: expected.code, name: expected.name }, message);
      assert.match(message, expected.message ?? /./);
      return true;
    });
    const after = await fingerprint(location);
    assert.deepEqual(stored(after), stored(before), 'the stored bytes have changed');
  }
}

/** Without the lock and its holder, which say who looked last; no session is in them. */
function stored(files: Record<string, string>): Record<string, string> {
  const { 'vault.lock': _, 'vault.holder': __, ...rest } = files;
  return rest;
}

/** A key that is named but empty is refused, so a missing one is left out. */
const keyed = (masterKey: string | undefined) => (masterKey === undefined ? {} : { masterKey });

/** A closed session with some records, and its creds' secret. */
async function makeSession(
  t: TestContext,
  masterKey?: string,
): Promise<{ location: string; secret: string }> {
  const { folder } = await light();
  const location = await makeFolder(t);
  const { state, saveCreds, store } = await folder(location, keyed(masterKey));
  await saveCreds();
  for (let n = 0; n < 50; n++) {
    await state.keys.set({ session: { [n]: { n, text: 'x'.repeat(2_000) } as never } });
  }
  await store.close();
  return { location, secret: state.creds.advSecretKey };
}

/** All that a session holds, as its right key opens it. */
async function contents(location: string, masterKey?: string): Promise<unknown> {
  const { folder } = await light();
  const { store } = await folder(location, keyed(masterKey));
  const found = await store.get('default');
  await store.close();
  return found;
}

/** Fails unless opening with `masterKey` is refused, twice, and no byte of the session has changed afterwards. */
async function refusesKey(
  location: string,
  masterKey: string | undefined,
  rightKey: string | undefined,
): Promise<void> {
  const { folder, vault } = await light();
  const before = await contents(location, rightKey);
  const bytes = stored(await fingerprint(location));
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(folder(location, keyed(masterKey)), (error: unknown) => {
      assert.ok(error instanceof vault.EncryptionError, String(error));
      assert.equal(error.code, 'ENCRYPTION_FAILED');
      assert.equal(error.retryable, false);
      for (const key of [masterKey, rightKey]) {
        assert.ok(key === undefined || !`${error.stack}${JSON.stringify(error)}`.includes(key.slice(0, 8)));
      }
      return true;
    });
    assert.deepEqual(stored(await fingerprint(location)), bytes, 'the stored bytes have changed');
  }
  assert.deepEqual(await contents(location, rightKey), before);
}

describe('master keys', () => {
  for (const [title, masterKey] of [
    ['a wrong master key', OTHER_KEY],
    ['a missing master key', undefined],
  ] as const) {
    it(`refuses ${title}, and opens with the right one afterwards`, async (t) => {
      const { folder, MASTER_KEY } = await light();
      const { location, secret } = await makeSession(t, MASTER_KEY);
      await refusesKey(location, masterKey, MASTER_KEY);
      const { state, store } = await folder(location, { masterKey: MASTER_KEY });
      assert.equal(state.creds.advSecretKey, secret);
      await store.close();
    });
  }

  it('refuses what was stored without sealing when there is a master key', async (t) => {
    const { MASTER_KEY } = await light();
    const { location } = await makeSession(t);
    await refusesKey(location, MASTER_KEY, undefined);
  });

  for (const masterKey of ['', 'too short', 'g'.repeat(64), '0'.repeat(63), '0'.repeat(66)]) {
    it(`refuses ${JSON.stringify(masterKey)} as a master key before anything is touched`, async (t) => {
      const { folder } = await light();
      const location = await makeFolder(t);
      await refuses(location, () => folder(location, keyed(masterKey)), {
        code: 'CONFIG_INVALID',
        name: 'ConfigError',
        message: /masterKey/,
      });
    });
  }
});

describe('damage', () => {
  /** Alters `vault.db`, then expects the folder to be refused. */
  function refusesDatabase(title: string, damage: (path: string) => Promise<void>, expected: Expected): void {
    it(`refuses a database ${title}`, async (t) => {
      const { folder } = await light();
      const { location } = await makeSession(t);
      await damage(join(location, 'vault.db'));
      await refuses(location, () => folder(location), expected);
    });
  }

  const corrupt: Expected = { code: 'CORRUPT_RECORD', name: 'CorruptRecordError' };

  refusesDatabase('that is empty', (path) => truncate(path, 0), corrupt);
  refusesDatabase('that is cut short', async (path) => truncate(path, 8_192), corrupt);
  refusesDatabase(
    'whose beginning is overwritten',
    async (path) => {
      const bytes = await readFile(path);
      await writeFile(path, bytes.fill(0xa5, 0, 4_096));
    },
    corrupt,
  );
  refusesDatabase(
    'whose every page but the first is overwritten',
    async (path) => {
      const bytes = await readFile(path);
      await writeFile(path, bytes.fill(0xa5, 4_096));
    },
    corrupt,
  );
  refusesDatabase(
    'of another program',
    async (path) => {
      const file = await open(path, 'r+');
      await file.write(Buffer.from('MPBX'), 0, 4, 68);
      await file.close();
    },
    { code: 'CONFIG_INVALID', name: 'ConfigError', message: /another program/ },
  );

  it('refuses a database that is gone while its log is there', async (t) => {
    const { folder } = await light();
    const location = await makeFolder(t);
    await writeFile(join(location, 'vault.db-wal'), 'some log');
    await refuses(location, () => folder(location), corrupt);
  });
});

describe('files of Baileys’ own useMultiFileAuthState', () => {
  async function makeFiles(t: TestContext, files: Record<string, string>): Promise<string> {
    const location = await makeFolder(t);
    for (const [name, content] of Object.entries(files)) {
      await writeFile(join(location, name), content);
    }
    return location;
  }

  async function goodCreds(): Promise<string> {
    const { BufferJSON, initAuthCreds } = await import('baileys');
    return JSON.stringify(initAuthCreds(), BufferJSON.replacer);
  }

  const refused = [
    ['an empty creds.json', async () => ({ 'creds.json': '' })],
    [
      'a torn creds.json',
      async () => {
        const creds = await goodCreds();
        return { 'creds.json': creds.slice(0, creds.length / 2) };
      },
    ],
    ['a creds.json that holds something else', async () => ({ 'creds.json': '{"some":"json"}' })],
    ['key files without a creds.json', async () => ({ 'pre-key-1.json': '{}' })],
    [
      'a torn key file',
      async () => ({ 'creds.json': await goodCreds(), 'session-15550001111.0.json': '{"_sessions":{"' }),
    ],
    ['an empty key file', async () => ({ 'creds.json': await goodCreds(), 'pre-key-7.json': '' })],
  ] as const;

  for (const [title, make] of refused) {
    it(`refuses ${title}, imports nothing, and imports all once it is put right`, async (t) => {
      const { folder, vault } = await light();
      const files: Record<string, string> = await make();
      const location = await makeFiles(t, files);
      const before = await fingerprint(location);
      for (let attempt = 0; attempt < 2; attempt++) {
        await assert.rejects(
          folder(location),
          (error: unknown) => error instanceof vault.StorageError && error.code === 'CORRUPT_RECORD',
        );
        const after = await fingerprint(location);
        assert.deepEqual(Object.fromEntries(Object.keys(before).map((name) => [name, after[name]])), before);
      }
      const right = { 'creds.json': await goodCreds(), 'pre-key-7.json': '{"n":7}' };
      for (const [name, content] of Object.entries(right)) {
        await writeFile(join(location, name), content);
      }
      if ('session-15550001111.0.json' in files) {
        await writeFile(join(location, 'session-15550001111.0.json'), '{"n":8}');
      }
      if ('pre-key-1.json' in files) {
        await writeFile(join(location, 'pre-key-1.json'), '{"n":1}');
      }
      const { state, store } = await folder(location);
      assert.equal(state.creds.advSecretKey, JSON.parse(right['creds.json']).advSecretKey);
      assert.deepEqual(await state.keys.get('pre-key', ['7']), { 7: { n: 7 } });
      await store.close();
    });
  }
});

describe('folders', () => {
  it('refuses a file in the place of the folder', async (t) => {
    const { folder } = await light();
    const parent = await makeFolder(t);
    const location = join(parent, 'session');
    await writeFile(location, 'not a folder');
    await refuses(parent, () => folder(location), { code: 'STORAGE_UNAVAILABLE', name: 'StorageError' });
  });

  it('refuses a folder below a file', async (t) => {
    const { folder, vault } = await light();
    const parent = await makeFolder(t);
    await writeFile(join(parent, 'file'), 'not a folder');
    await assert.rejects(folder(join(parent, 'file', 'session')), vault.StorageError);
    assert.deepEqual(Object.keys(await fingerprint(parent)), ['file']);
  });

  for (const name of ['vault.db', 'vault.lock']) {
    it(`refuses a directory in the place of ${name}`, async (t) => {
      const { folder } = await light();
      const location = await makeFolder(t);
      await mkdir(join(location, name));
      await writeFile(join(location, name, 'inside'), 'kept');
      await refuses(location, () => folder(location), { code: 'STORAGE_UNAVAILABLE', name: 'StorageError' });
    });
  }
});
