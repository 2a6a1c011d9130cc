/** The first start on a folder that Baileys' own function has written: once in its life, whole, and finished after a crash. */
import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import {
  ACCOUNT,
  bot,
  GET,
  isOurs,
  KEYS,
  makeAuth,
  marker,
  movedInto,
  namesIn,
  paired,
  write,
  writeFiles,
} from './folder.js';
import { runNode } from './support.js';

test('imports the files, moves them, and leaves a creds.json of its own', async (t) => {
  const folder = await makeAuth(t);
  const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
  const files = readdirSync(folder).sort();
  const contents = files.map((name) => readFileSync(join(folder, name), 'utf8'));
  write(folder, 'package-lock.json', '{"name":"bot"}');

  const first = await bot(t, folder, { steps: [GET] });
  assert.equal(first.secret, secret);
  assert.deepEqual(first.results, [KEYS.session]);
  const into = movedInto(folder, 'imported');
  assert.match(basename(into), /^imported-\d{4}-\d\d-\d\d$/);
  assert.equal(statSync(into).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(into).sort(), files);
  assert.deepEqual(
    files.map((name) => readFileSync(join(into, name), 'utf8')),
    contents,
  );
  assert.deepEqual(namesIn(folder), ['creds.json', basename(into), 'package-lock.json']);
  assert.ok(isOurs(folder));
  assert.deepEqual(
    first.logs.filter(({ level }) => level === 'warn').map(({ names }) => names),
    [['package-lock.json']],
  );

  const second = await bot(t, folder, { steps: [GET] });
  assert.equal(second.secret, secret);
  assert.deepEqual(second.results, [KEYS.session]);
  assert.deepEqual(second.logs, [], 'the second start has nothing to tell');
});

for (const release of ['baileys-6', 'baileys-rc4', 'baileys-rc9']) {
  test(`imports what ${release} has written`, async (t) => {
    const folder = await makeAuth(t);
    const secret = await writeFiles(folder, paired(ACCOUNT), KEYS, release);
    const { secret: found, results } = await bot(t, folder, { steps: [GET] });
    assert.equal(found, secret);
    assert.deepEqual(results, [KEYS.session]);
  });
}

test('with a masterKey it says where readable keys are left, and how they are removed', async (t) => {
  const folder = await makeAuth(t);
  await writeFiles(folder, paired(ACCOUNT));
  const { logs } = await bot(t, folder, { options: { masterKey: 'ab'.repeat(32) } });
  const into = movedInto(folder, 'imported');
  const warnings = logs.filter(({ level }) => level === 'warn').map(({ message }) => message);
  assert.equal(warnings.length, 1);
  assert.ok(warnings[0]?.includes('readable keys') && warnings[0].includes(`rm -r '${into}'`), warnings[0]);
});

test('a logged-out session does not come back: not at the next start, and not when its files are put back', async (t) => {
  const folder = await makeAuth(t);
  const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
  const first = await bot(t, folder, { steps: [['delete']] });
  assert.equal(first.secret, secret);
  assert.deepEqual(first.results, [true]);
  assert.equal(marker(folder), undefined, 'gone with the session');

  const second = await bot(t, folder);
  assert.notEqual(second.secret, secret);
  assert.deepEqual(second.logs, []);

  // As a deployment does that ships the files with every release.
  const into = movedInto(folder, 'imported');
  cpSync(into, folder, { recursive: true });
  const third = await bot(t, folder);
  assert.equal(third.error?.code, 'FOREIGN_FILES');
  assert.match(third.error?.message ?? '', /imported from here .*deleted since.*onForeignFiles/);
  const fourth = await bot(t, folder, { options: { onForeignFiles: 'ignore' } });
  assert.notEqual(fourth.secret, secret);
  movedInto(folder, 'ignored');
  assert.ok(!namesIn(folder).includes('session-1.0.json'));
  const fifth = await bot(t, folder);
  assert.equal(fifth.error, undefined);
});

test('files of the import that are put back while its session lives are put aside again, and nothing is lost', async (t) => {
  const folder = await makeAuth(t);
  const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
  await bot(t, folder, { steps: [['set', { session: { '1.0': { a: 'newer' } } }]] });
  const into = movedInto(folder, 'imported');
  cpSync(into, folder, { recursive: true });
  const again = await bot(t, folder, { options: { onForeignFiles: 'import' }, steps: [GET] });
  assert.equal(again.secret, secret);
  assert.deepEqual(again.results, [{ ...KEYS.session, '1.0': { a: 'newer' } }]);
  assert.deepEqual(
    again.logs.map(({ level }) => level),
    ['warn'],
  );
  assert.equal(movedInto(folder, 'imported'), into);
  assert.ok(isOurs(folder));
});

test('a torn file of a known type is refused with the way out, which works', async (t) => {
  const folder = await makeAuth(t);
  const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
  write(folder, 'session-1.0.json', '{"_sess');
  for (let attempt = 0; attempt < 2; attempt++) {
    const { error } = await bot(t, folder);
    assert.equal(error?.code, 'CORRUPT_RECORD');
    assert.match(
      error.message,
      /session-1\.0\.json.*not valid JSON.*remove it: that chat will be negotiated anew/,
    );
  }
  rmSync(join(folder, 'session-1.0.json'));
  const { secret: found, results } = await bot(t, folder, { steps: [GET] });
  assert.equal(found, secret);
  assert.deepEqual(results, [{ '2.0': KEYS.session['2.0'] }]);
});

test('creds that a kill left between two names are found', async (t) => {
  const folder = await makeAuth(t);
  const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
  renameSync(join(folder, 'creds.json'), join(folder, 'creds.json.bak'));
  renameSync(join(folder, 'session-2.0.json'), join(folder, 'session-2.0.json.bak'));
  write(folder, 'session-2.0.json', '');
  const first = await bot(t, folder, { steps: [GET] });
  assert.equal(first.secret, secret);
  assert.deepEqual(first.results, [KEYS.session]);
  assert.ok(isOurs(folder));
  assert.ok(existsSync(join(movedInto(folder, 'imported'), 'creds.json.bak')));
  const { secret: still, logs } = await bot(t, folder);
  assert.equal(still, secret);
  assert.deepEqual(logs, []);
});

test('a relative folder is the one of the call, wherever the program goes meanwhile', async (t) => {
  const folder = await makeAuth(t);
  const elsewhere = join(dirname(folder), 'elsewhere');
  mkdirSync(elsewhere);
  const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
  const program = join(__dirname, 'programs', 'folder.mjs');
  const task = JSON.stringify({ folder: 'auth', steps: [['save', { platform: 'ios' }]] });
  const { stdout, stderr } = await runNode(t, [program, task], {
    cwd: dirname(folder),
    env: { ...process.env, CHDIR: elsewhere },
  });
  assert.equal(JSON.parse(stdout).secret, secret, stderr);
  assert.deepEqual(readdirSync(elsewhere), []);
  assert.equal(marker(folder)?.platform, 'ios');
});
