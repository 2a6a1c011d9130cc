/** Files of the embedded store that are lost, copied or put back: never an older session, never a new one. */
import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { makeFolder } from '../crash/support.js';
import { Keeper } from './keeper.js';

const DURABILITIES = ['process', 'full'] as const;

/** A keeper whose folder was closed once since its session began, with one record stored since. */
async function keeping(t: TestContext, folder: string, options: Record<string, unknown> = {}) {
  const first = await Keeper.of(t, folder, options);
  assert.deepEqual(await first.call('saveCreds'), {});
  assert.deepEqual(await first.set('a', 1), {});
  assert.deepEqual(await first.call('close'), {});
  const again = await first.call('open', { folder, options });
  assert.equal(again.value, first.opened.value);
  assert.deepEqual(await first.set('a', 2), {});
  return first;
}

async function refused(t: TestContext, folder: string, text: RegExp): Promise<void> {
  const { opened } = await Keeper.of(t, folder);
  assert.equal(opened.code, 'CORRUPT_RECORD', JSON.stringify(opened));
  assert.match(opened.message ?? '', text);
}

it('a database that is gone is not made anew', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await keeping(t, folder);
  await keeper.call('close');
  await rm(join(folder, 'vault.db'));
  await refused(t, folder, /vault\.db is missing/);
  // Nor by a program that wants to share it.
  const { opened } = await Keeper.of(t, folder, { exclusive: false });
  assert.equal(opened.code, 'CORRUPT_RECORD');
});

it('a log deleted after a crash is missed', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await keeping(t, folder);
  await keeper.crash();
  await rm(join(folder, 'vault.db-wal'));
  await refused(t, folder, /vault\.db-wal is missing/);
});

it('a copy of the database alone is whole once the store is closed, and refused before', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await keeping(t, folder);
  const copies = [join(folder, 'early'), join(folder, 'late')] as const;
  for (const copy of copies) {
    await mkdir(copy);
  }
  await copyFile(join(folder, 'vault.db'), join(copies[0], 'vault.db'));
  await keeper.call('close');
  await copyFile(join(folder, 'vault.db'), join(copies[1], 'vault.db'));
  await refused(t, copies[0], /vault\.db-wal is missing/);
  const late = await Keeper.of(t, copies[1]);
  assert.equal(late.opened.value, keeper.opened.value);
  assert.equal(await late.get('a'), 2);
});

it('a log beside a database from another time is refused', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await keeping(t, folder);
  await keeper.call('close');
  const backup = await readFile(join(folder, 'vault.db'));
  await keeper.call('open', { folder });
  await keeper.set('a', 3);
  await keeper.crash();
  await writeFile(join(folder, 'vault.db'), backup);
  await refused(t, folder, /from another time/);
});

for (const durability of DURABILITIES) {
  it(`a log deleted while open is noticed, and closing saves what is in it: ${durability}`, async (t) => {
    const folder = await makeFolder(t);
    const keeper = await keeping(t, folder, { durability });
    await rm(join(folder, 'vault.db-wal'));
    const set = await keeper.set('a', 3);
    assert.equal(set.code, 'STORAGE_UNAVAILABLE', JSON.stringify(set));
    assert.match(set.message ?? '', /vault\.db-wal/);
    await keeper.call('close');
    const next = await Keeper.of(t, folder);
    assert.equal(next.opened.value, keeper.opened.value);
    assert.ok(
      [2, 3].includes((await next.get('a')) as number),
      'what was acknowledged, or what was tried after',
    );
  });

  it(`a database replaced while open is noticed and left alone: ${durability}`, async (t) => {
    const folder = await makeFolder(t);
    const other = join(folder, 'other');
    const theirs = await keeping(t, other, { durability });
    await theirs.call('close');
    const keeper = await keeping(t, folder, { durability });
    const replacement = await readFile(join(other, 'vault.db'));
    await rename(join(other, 'vault.db'), join(folder, 'vault.db'));
    const set = await keeper.set('a', 3);
    assert.equal(set.code, 'STORAGE_UNAVAILABLE', JSON.stringify(set));
    await keeper.call('close');
    assert.deepEqual(await readFile(join(folder, 'vault.db')), replacement);
  });
}

it('damage is found by verify', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await keeping(t, folder);
  assert.deepEqual((await keeper.call('verify')).value, { sessions: 1, records: 2 });
  await keeper.call('close');
  const path = join(folder, 'vault.db');
  const bytes = await readFile(path);
  const at = bytes.lastIndexOf('sender-keya');
  assert.ok(at > 0);
  bytes[at] = 's'.charCodeAt(0) ^ 4;
  await writeFile(path, bytes);
  await keeper.call('open', { folder });
  assert.equal((await keeper.call('verify')).code, 'CORRUPT_RECORD');
});
