/** Files of Baileys' own function that turn up in a folder which has a session: never silence, never the older ratchets. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  ACCOUNT,
  bot,
  GET,
  isOurs,
  makeAuth,
  marker,
  movedInto,
  namesIn,
  OTHER,
  paired,
  write,
  writeFiles,
} from './folder.js';

/** A folder with a session of ours, and beside it one that Baileys' own function has written. */
async function both(
  t: Parameters<typeof makeAuth>[0],
  stored: object,
  foreign: object,
): Promise<{ folder: string; ours: string; theirs: string }> {
  const folder = await makeAuth(t);
  const steps: [string, unknown][] = [
    ['save', stored],
    ['set', { session: { '1.0': 'ours' }, 'lid-mapping': { a: 'b' } }],
  ];
  const { secret: ours } = await bot(t, folder, { steps });
  rmSync(join(folder, 'creds.json'));
  const theirs = await writeFiles(folder, foreign, { session: { '1.0': 'theirs', '2.0': 'theirs' } });
  return { folder, ours: ours as string, theirs };
}

test('pasted in before pairing, they are imported, and nothing of the unpaired session is left', async (t) => {
  for (const stored of [
    {},
    { me: { id: '15550003333@s.whatsapp.net', name: '~' }, pairingCode: 'ABCD1234' },
  ]) {
    const { folder, theirs } = await both(t, stored, paired(OTHER));
    const steps: [string, unknown][] = [GET, ['get', ['lid-mapping', ['a']]]];
    const { secret, me, results, logs } = await bot(t, folder, { steps });
    assert.equal(secret, theirs);
    assert.deepEqual(me, OTHER);
    assert.deepEqual(results, [{ '1.0': 'theirs', '2.0': 'theirs' }, {}]);
    assert.deepEqual(
      logs.map(({ level, account }) => [level, account]),
      [['info', OTHER.id]],
    );
    movedInto(folder, 'imported');
    assert.deepEqual(marker(folder)?.me, OTHER);
  }
});

test('pasted in after a logout, they are imported', async (t) => {
  const folder = await makeAuth(t);
  await writeFiles(folder, paired(ACCOUNT));
  await bot(t, folder, { steps: [['delete']] });
  const secret = await writeFiles(folder, paired(OTHER));
  const again = await bot(t, folder);
  assert.equal(again.secret, secret);
  assert.deepEqual(readdirSync(movedInto(folder, 'imported', 2)), ['creds.json']);
});

test('when both are paired, it is an error that names both and the option; nothing changes', async (t) => {
  const { folder, ours } = await both(t, paired(ACCOUNT), paired(OTHER));
  const content = () => namesIn(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
  const before = content();
  for (let attempt = 0; attempt < 2; attempt++) {
    const { error } = await bot(t, folder);
    assert.deepEqual(
      { ...error, message: '' },
      {
        code: 'FOREIGN_FILES',
        name: 'ForeignFilesError',
        message: '',
        stored: ACCOUNT.id,
        foreign: OTHER.id,
      },
    );
    for (const part of [ACCOUNT.id, OTHER.id, 'onForeignFiles', "'import'", "'ignore'", folder]) {
      assert.ok(error?.message.includes(part), error?.message);
    }
    assert.ok(!error?.message.includes(ours));
    assert.deepEqual(content(), before);
  }
});

test("'ignore' keeps what is stored and puts the files aside", async (t) => {
  const { folder, ours } = await both(t, paired(ACCOUNT), paired(OTHER));
  const options = { onForeignFiles: 'ignore' };
  const { secret, results } = await bot(t, folder, { options, steps: [GET] });
  assert.equal(secret, ours);
  assert.deepEqual(results, [{ '1.0': 'ours' }]);
  const into = movedInto(folder, 'ignored');
  assert.deepEqual(readdirSync(into).sort(), ['creds.json', 'session-1.0.json', 'session-2.0.json']);
  assert.ok(isOurs(folder));
  const again = await bot(t, folder, { options });
  assert.deepEqual(again.logs, []);
});

test("'import' takes the files in the place of what is stored, all of it", async (t) => {
  const { folder, theirs } = await both(t, paired(ACCOUNT), paired(OTHER));
  const options = { onForeignFiles: 'import' };
  const steps: [string, unknown?][] = [GET, ['get', ['lid-mapping', ['a']]], ['version']];
  const { secret, results } = await bot(t, folder, { options, steps });
  assert.equal(secret, theirs);
  assert.deepEqual(results, [{ '1.0': 'theirs', '2.0': 'theirs' }, {}, 3]);
  movedInto(folder, 'imported');
  assert.deepEqual(marker(folder)?.me, OTHER);
  const again = await bot(t, folder, { options, steps });
  assert.deepEqual(again.results, results, 'imported once');
});

test("a day back on Baileys' own function: neither its ratchets nor the stored ones win silently", async (t) => {
  const folder = await makeAuth(t);
  await writeFiles(folder, paired(ACCOUNT), { session: { '1.0': 'first' } });
  const { secret } = await bot(t, folder, { steps: [['set', { session: { '1.0': 'ours' } }]] });
  // The owner takes the files back, and the bot goes on with them for a day.
  cpSync(movedInto(folder, 'imported'), folder, { recursive: true });
  const own = await import('baileys').then(({ useMultiFileAuthState }) => useMultiFileAuthState(folder));
  assert.equal(own.state.creds.advSecretKey, secret);
  await own.state.keys.set({ session: { '1.0': 'a day later' as never } });

  const refused = await bot(t, folder);
  assert.equal(refused.error?.code, 'FOREIGN_FILES');
  assert.match(refused.error?.message ?? '', /at another time/);
  assert.deepEqual([refused.error?.stored, refused.error?.foreign], [ACCOUNT.id, ACCOUNT.id]);
  const decided = await bot(t, folder, { options: { onForeignFiles: 'import' }, steps: [GET] });
  assert.equal(decided.secret, secret);
  assert.deepEqual(decided.results, [{ '1.0': 'a day later' }]);
  movedInto(folder, 'imported', 2);
});

test('files that were never paired do not replace a session that is', async (t) => {
  for (const options of [{}, { onForeignFiles: 'import' }]) {
    const { folder, ours } = await both(t, paired(ACCOUNT), {});
    const { secret, logs } = await bot(t, folder, { options });
    assert.equal(secret, ours);
    assert.deepEqual(
      logs.map(({ level, stored }) => [level, stored]),
      [['warn', ACCOUNT.id]],
    );
    assert.ok(existsSync(join(movedInto(folder, 'ignored'), 'creds.json')));
    assert.ok(isOurs(folder));
  }
});

test('a torn creds.json beside a stored session costs nothing but a warning', async (t) => {
  const folder = await makeAuth(t);
  const { secret } = await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  write(folder, 'creds.json', '{"noiseKey":{"pri');
  const { secret: found, logs } = await bot(t, folder);
  assert.equal(found, secret);
  assert.deepEqual(
    logs.map(({ level, reason }) => [level, String(reason).split(';')[0]]),
    [['warn', 'it is not valid JSON']],
  );
  assert.ok(isOurs(folder));
});

test('key files without creds are an error before there is a session, and left alone beside one', async (t) => {
  const folder = await makeAuth(t);
  write(folder, 'session-1.0.json', '"stray"');
  const { error } = await bot(t, folder);
  assert.equal(error?.code, 'CORRUPT_RECORD');
  assert.match(error.message, /session-1\.0\.json is there but creds\.json is not: restore it/);
  rmSync(join(folder, 'session-1.0.json'));

  const { secret } = await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  write(folder, 'session-1.0.json', '"stray"');
  rmSync(join(folder, 'creds.json'));
  const again = await bot(t, folder, { steps: [GET] });
  assert.equal(again.secret, secret);
  assert.deepEqual(again.results, [{}]);
  assert.deepEqual(
    again.logs.map(({ level, file }) => [level, file]),
    [['warn', 'session-1.0.json']],
  );
});

test('the option takes nothing else', async (t) => {
  const { error } = await bot(t, await makeAuth(t), { options: { onForeignFiles: 'merge' } });
  assert.equal(error?.code, 'CONFIG_INVALID');
  assert.match(error.message, /onForeignFiles: expected 'import' or 'ignore'/);
});
