import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ConfigError } from '../../lib/errors.js';
import { findBaileys, loadBaileys } from '../../lib/peer.js';

const ESM = `
  export const initAuthCreds = () => ({ from: 'esm' });
  export const proto = { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } };
`;
const CJS = `
  const exported = {
    initAuthCreds: () => ({ from: 'cjs' }),
    proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
  };
  module.exports = exported;
`;

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'vault-peer-'));
});
after(() => rm(root, { recursive: true, force: true }));

let count = 0;
/** A project in which `files` are installed. */
async function project(files: Record<string, string>): Promise<string> {
  count += 1;
  const directory = join(root, String(count));
  await mkdir(directory);
  for (const [file, content] of Object.entries(files)) {
    const path = join(directory, 'node_modules', file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  return directory;
}

/** Loads files only, as if nothing were installed beside this package. */
const fromProjectOnly = async (specifier: string): Promise<unknown> => {
  if (!specifier.startsWith('file:')) {
    throw Object.assign(new Error(`Cannot find package '${specifier}' imported from here`), {
      code: 'ERR_MODULE_NOT_FOUND',
    });
  }
  return import(specifier);
};

const from = async (directory: string) => (await findBaileys(directory, fromProjectOnly)).initAuthCreds();

describe('finding Baileys', () => {
  it('beside this package', async () => {
    const baileys = await loadBaileys();
    assert.ok(baileys.initAuthCreds().noiseKey);
    assert.equal(await loadBaileys(), baileys);
  });

  it('as the ES module baileys, in the program’s folder', async () => {
    const directory = await project({
      'baileys/package.json': '{"type":"module","main":"index.js"}',
      'baileys/index.js': ESM,
    });
    assert.deepEqual(await from(directory), { from: 'esm' });
  });

  it('as the CommonJS module @whiskeysockets/baileys, in the program’s folder', async () => {
    const directory = await project({
      '@whiskeysockets/baileys/package.json': '{"main":"index.js"}',
      '@whiskeysockets/baileys/index.js': CJS,
    });
    assert.deepEqual(await from(directory), { from: 'cjs' });
  });

  it('says how to install it where there is none', async () => {
    const directory = await project({});
    await assert.rejects(findBaileys(directory, fromProjectOnly), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /npm install baileys/);
      return true;
    });
  });

  it('tells a broken one from a missing one', async () => {
    const directory = await project({
      'baileys/package.json': '{"type":"module","main":"index.js"}',
      'baileys/index.js': "import 'a-dependency-that-is-missing';",
    });
    await assert.rejects(findBaileys(directory, fromProjectOnly), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /installed baileys cannot be loaded/);
      assert.match((error.cause as Error).message, /a-dependency-that-is-missing/);
      return true;
    });
  });

  it('refuses one that is too old', async () => {
    const directory = await project({ 'baileys/index.js': 'exports.initAuthCreds = () => ({});' });
    await assert.rejects(findBaileys(directory, fromProjectOnly), /6\.7 or newer/);
  });
});

describe('the option baileys', () => {
  it('goes before what is installed', async () => {
    const proto = { Message: { AppStateSyncKeyData: { fromObject: (value: unknown) => value } } };
    const given = { initAuthCreds: () => 'mine', proto };
    assert.equal((await loadBaileys(given)).initAuthCreds(), 'mine');
    assert.equal((await loadBaileys({ default: given })).initAuthCreds(), 'mine');
  });

  it('must be Baileys', async () => {
    await assert.rejects(loadBaileys({}), { field: 'baileys' });
    await assert.rejects(loadBaileys('baileys'), { field: 'baileys' });
  });
});
