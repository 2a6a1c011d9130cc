/** `vault.db` is gone and something says that it was there: an error, never Baileys' old files again, never a new identity. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ACCOUNT, bot, makeAuth, movedInto, namesIn, paired, write, writeFiles } from './folder.js';

/** Removes everything of ours but what is named. */
function keepOnly(folder: string, keep: RegExp): void {
  for (const name of readdirSync(folder)) {
    if (!keep.test(name)) {
      rmSync(join(folder, name), { recursive: true });
    }
  }
}

const LEFT: [what: string, keep: RegExp][] = [
  ['the holder', /^vault\.holder$/],
  ['the creds.json of ours', /^creds\.json$/],
  ['the imported files', /^imported-/],
  ['all but the database', /^(?!vault\.db)/],
];

for (const [what, keep] of LEFT) {
  test(`${what}: is CORRUPT_RECORD, also with old files of Baileys beside it, and all is well with the database back`, async (t) => {
    const folder = await makeAuth(t);
    const secret = await writeFiles(folder, paired(ACCOUNT));
    await bot(t, folder, { steps: [['save', { nextPreKeyId: 77 }]] });
    const copy = `${folder}-copy`;
    cpSync(folder, copy, { recursive: true });
    keepOnly(folder, keep);
    const before = namesIn(folder);
    for (let attempt = 0; attempt < 2; attempt++) {
      const { error, secret: made } = await bot(t, folder);
      assert.equal(error?.code, 'CORRUPT_RECORD');
      assert.match(error.message, /vault\.db is missing/);
      assert.equal(made, undefined);
    }
    assert.deepEqual(namesIn(folder), before);

    if (what !== 'the creds.json of ours') {
      // Months old, put in the place of the marker.
      await rmAndWrite(folder, join(movedInto(copy, 'imported'), 'creds.json'));
      const { error } = await bot(t, folder, { options: { onForeignFiles: 'import' } });
      assert.equal(error?.code, 'CORRUPT_RECORD');
      rmSync(join(folder, 'creds.json'));
    }
    cpSync(join(copy, 'vault.db'), join(folder, 'vault.db'));
    const again = await bot(t, folder);
    assert.equal(again.error, undefined);
    assert.equal(again.secret, secret);
  });
}

async function rmAndWrite(folder: string, old: string): Promise<void> {
  rmSync(join(folder, 'creds.json'), { force: true });
  cpSync(old, join(folder, 'creds.json'));
}

test('a creds.json of ours that was copied as a backup is no session', async (t) => {
  const [folder, elsewhere] = [await makeAuth(t), await makeAuth(t)];
  await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  write(elsewhere, 'notes.txt', '');
  renameSync(join(folder, 'creds.json'), join(elsewhere, 'creds.json'));
  const { error } = await bot(t, elsewhere);
  assert.equal(error?.code, 'CORRUPT_RECORD');
  // Beside the session it is nothing to import either, under whichever name.
  renameSync(join(elsewhere, 'creds.json'), join(folder, 'creds.json.bak'));
  const { error: none, logs } = await bot(t, folder);
  assert.equal(none, undefined);
  assert.deepEqual(logs, []);
});
