/** Where the command line has keys from: a variable, a file, or a program that a variable names; never nowhere. */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { makeFolder } from '../situations/support.js';
import { cli, json, KEY, makeSession, OLD_KEY, refused, writeFolder } from './support.js';

let folder: string;
before(async (t) => {
  folder = join(await makeFolder(t as TestContext), 'auth_info_baileys');
  await writeFolder(folder, await makeSession());
});

/** A program that prints a text. */
async function printing(t: TestContext, text: string): Promise<string> {
  const file = join(await makeFolder(t), 'key.cjs');
  writeFileSync(
    file,
    `#!${process.execPath}\nprocess.stdout.write(process.argv[2] ?? ${JSON.stringify(text)})`,
  );
  chmodSync(file, 0o700);
  return file;
}

describe('keys from a program', () => {
  it('are the keys of a store', async (t) => {
    const store = ['--store', join(await makeFolder(t), 'vault')];
    const command = { BAILEYS_VAULT_MASTER_KEY_COMMAND: await printing(t, `${KEY}\n`) };
    await json(t, ['import', folder, ...store], { env: command });
    assert.equal(
      (await json(t, ['verify', ...store], { env: { BAILEYS_VAULT_MASTER_KEY: KEY } })).sound,
      true,
    );
    const list = JSON.stringify([await printing(t, 'nothing'), KEY]);
    const env = { BAILEYS_VAULT_MASTER_KEY_COMMAND: list };
    assert.equal((await json(t, ['verify', ...store], { env })).sound, true);
  });

  it('are of each side of a copy its own, and of a rotation both', async (t) => {
    const [from, to] = [join(await makeFolder(t), 'from'), join(await makeFolder(t), 'to')];
    await json(t, ['import', folder, '--store', from], { env: { BAILEYS_VAULT_MASTER_KEY: KEY } });
    const both = {
      BAILEYS_VAULT_MASTER_KEY: 'ab'.repeat(32),
      BAILEYS_VAULT_FROM_MASTER_KEY_COMMAND: await printing(t, KEY),
      BAILEYS_VAULT_TO_MASTER_KEY_COMMAND: await printing(t, OLD_KEY),
    };
    await json(t, ['copy', '--from', from, '--to', to], { env: both });
    const rotating = {
      BAILEYS_VAULT_MASTER_KEY_COMMAND: await printing(t, KEY),
      BAILEYS_VAULT_PREVIOUS_MASTER_KEYS_COMMAND: await printing(t, `${'cd'.repeat(32)}\n${OLD_KEY}\n`),
    };
    const { resealed, records } = await json(t, ['rotate-key', '--store', to], { env: rotating });
    assert.equal(resealed, records);
    assert.equal(
      (await json(t, ['verify', '--store', to], { env: { BAILEYS_VAULT_MASTER_KEY: KEY } })).sound,
      true,
    );
  });

  it('that do not come are an error, which names the variable and shows nothing of them', async (t) => {
    const store = join(await makeFolder(t), 'vault');
    const words = ['import', folder, '--store', store];
    const name = 'BAILEYS_VAULT_MASTER_KEY_COMMAND';
    const cases: [value: string, message: RegExp][] = [
      ['', /is set but empty/],
      [await printing(t, ''), /printed nothing/],
      [await printing(t, KEY.slice(1)), /64 hex/],
      [`${process.execPath} -e process.exit(7)`, /exit code 7/],
      ['/no/such/program', /cannot be run \(ENOENT\)/],
      [`[${KEY}`, /a list of them in JSON/],
      ['[]', /a program and its arguments/],
    ];
    for (const [value, message] of cases) {
      const error = await refused(t, 2, 'CONFIG_INVALID', words, { env: { [name]: value } });
      assert.equal(error.field, name);
      assert.match(error.message, message);
      assert.ok(!JSON.stringify(error).includes(KEY.slice(1)), error.message);
    }
    const env = { [name]: await printing(t, KEY), BAILEYS_VAULT_MASTER_KEY: KEY };
    await refused(t, 2, 'CONFIG_INVALID', words, { env });
    await refused(t, 3, 'STORE_NOT_FOUND', ['list', '--store', store], {
      env: { BAILEYS_VAULT_MASTER_KEY: KEY },
    });
    assert.match((await cli(t, ['copy', '--help'])).stdout, /MASTER_KEY/);
  });
});
