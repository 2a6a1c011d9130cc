import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findBaileys, loadBaileys, type Search } from '../../lib/baileys/load.js';
import { ConfigError } from '../../lib/errors.js';

const ESM = (from = 'esm') => `
  export const initAuthCreds = () => ({ from: '${from}' });
  export const proto = { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } };
`;
const CJS = `
  const exported = {
    initAuthCreds: () => ({ from: 'cjs' }),
    proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
  };
  module.exports = exported;
`;
const manifest = (version: string) => JSON.stringify({ type: 'module', main: 'index.js', version });

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'vault-peer-'));
});
after(() => rm(root, { recursive: true, force: true }));

let count = 0;
/** A folder with these files. */
async function project(files: Record<string, string>): Promise<string> {
  count += 1;
  const directory = join(root, String(count));
  await mkdir(directory);
  for (const [file, content] of Object.entries(files)) {
    const path = join(directory, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  return directory;
}

const missing = async (name: string): Promise<unknown> => {
  throw Object.assign(new Error(`Cannot find package '${name}' imported from here`), {
    code: 'ERR_MODULE_NOT_FOUND',
  });
};

/** Finds what is installed in the folders only, as if nothing were beside this package. */
const find = async (folders: readonly string[], other: Partial<Search> = {}) => {
  const warnings: string[] = [];
  const found = await findBaileys({
    beside: missing,
    file: (url) => import(url),
    folders,
    bundled: false,
    warn: (message) => warnings.push(message),
    ...other,
  });
  const { initAuthCreds } = await loadBaileys(found);
  return { creds: initAuthCreds() as unknown, warnings };
};

describe('finding Baileys', () => {
  it('for this program', async () => {
    const baileys = await loadBaileys();
    assert.ok(baileys.initAuthCreds().noiseKey);
    assert.equal(await loadBaileys(), baileys);
  });

  it('as the ES module baileys, in the program’s folder', async () => {
    const directory = await project({
      'node_modules/baileys/package.json': '{"type":"module","main":"index.js"}',
      'node_modules/baileys/index.js': ESM(),
    });
    assert.deepEqual((await find([directory])).creds, { from: 'esm' });
  });

  it('as the CommonJS module @whiskeysockets/baileys, in the program’s folder', async () => {
    const directory = await project({
      'node_modules/@whiskeysockets/baileys/package.json': '{"main":"index.js"}',
      'node_modules/@whiskeysockets/baileys/index.js': CJS,
    });
    assert.deepEqual((await find([directory])).creds, { from: 'cjs' });
  });

  it('says how to install it where there is none, and that it may have been bundled', async () => {
    const directory = await project({});
    await assert.rejects(find([directory]), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /bundled.*npm install baileys/);
      return true;
    });
  });

  it('tells a broken one from a missing one', async () => {
    const directory = await project({
      'node_modules/baileys/package.json': '{"type":"module","main":"index.js"}',
      'node_modules/baileys/index.js': "import 'a-dependency-that-is-missing';",
    });
    await assert.rejects(find([directory]), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, /installed baileys cannot be loaded/);
      assert.match((error.cause as Error).message, /a-dependency-that-is-missing/);
      return true;
    });
  });

  it('refuses one that is too old', async () => {
    const directory = await project({
      'node_modules/baileys/package.json': '{}',
      'node_modules/baileys/index.js': 'exports.initAuthCreds = () => ({});',
    });
    await assert.rejects(find([directory]), /6\.7 or newer/);
  });
});

describe('of two versions of Baileys', () => {
  const workspace = () =>
    project({
      'node_modules/baileys/package.json': manifest('6.7.0'),
      'node_modules/baileys/index.js': ESM('the root'),
      'apps/bot/package.json': '{}',
      'apps/bot/node_modules/baileys/package.json': manifest('7.0.0'),
      'apps/bot/node_modules/baileys/index.js': ESM('the bot'),
    });
  const beside = async () => ({
    initAuthCreds: () => ({ from: 'beside' }),
    proto: { Message: { AppStateSyncKeyData: { fromObject: (value: unknown) => value } } },
  });

  it('the one nearest to the program is taken, not the one beside this package', async () => {
    const directory = await workspace();
    const { creds, warnings } = await find([join(directory, 'apps', 'bot')], { beside });
    assert.deepEqual(creds, { from: 'the bot' });
    assert.deepEqual(warnings, []);
  });

  it('the one near the main file is taken, and the working directory’s is told of', async () => {
    const directory = await workspace();
    const { creds, warnings } = await find([join(directory, 'apps', 'bot'), directory], { beside });
    assert.deepEqual(creds, { from: 'the bot' });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] as string, /taking baileys 7\.0\.0 .*not baileys 6\.7\.0 .*option `baileys`/);
  });

  it('the one that package.json asks for is taken of two names in one place', async () => {
    const directory = await project({
      'package.json': '{"dependencies":{"@whiskeysockets/baileys":"^6"}}',
      'node_modules/baileys/package.json': manifest('7.0.0'),
      'node_modules/baileys/index.js': ESM('the short name'),
      'node_modules/@whiskeysockets/baileys/package.json': manifest('6.7.0'),
      'node_modules/@whiskeysockets/baileys/index.js': ESM('the scoped name'),
    });
    const { creds, warnings } = await find([directory]);
    assert.deepEqual(creds, { from: 'the scoped name' });
    assert.deepEqual(warnings, []);
  });

  it('the one that was bundled goes before all', async () => {
    const directory = await workspace();
    assert.deepEqual((await find([directory], { beside, bundled: true })).creds, { from: 'beside' });
  });

  it('the same release twice is not worth a word', async () => {
    const directory = await project({
      'node_modules/baileys/package.json': manifest('7.0.0'),
      'node_modules/baileys/index.js': ESM('the root'),
      'apps/bot/node_modules/baileys/package.json': manifest('7.0.0'),
      'apps/bot/node_modules/baileys/index.js': ESM('the bot'),
    });
    assert.deepEqual((await find([join(directory, 'apps', 'bot'), directory])).warnings, []);
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
