/** One owner of a folder, whatever happens to the lock's file. */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { makeFolder } from '../crash/support.js';
import { Keeper } from './keeper.js';

for (const durability of ['process', 'full'] as const) {
  it(`an owner whose lock was deleted is fenced by the next: ${durability}`, async (t) => {
    const folder = await makeFolder(t);
    const first = await Keeper.of(t, folder, { durability });
    await first.call('saveCreds');
    await first.set('a', 1);
    await rm(join(folder, 'vault.lock'));
    const second = await Keeper.of(t, folder, { durability });
    assert.equal(second.opened.value, first.opened.value, 'the same identity');
    // Before the second has written as well as after.
    assert.equal((await first.set('a', 2)).code, 'FENCED');
    assert.deepEqual(await second.set('a', 3), {});
    assert.equal((await first.set('a', 4)).code, 'FENCED');
    assert.deepEqual((await first.call('lost')).value, ['FENCED']);
    assert.deepEqual(await first.call('close'), {});
    assert.deepEqual(await second.set('b', 5), {}, 'closing takes nothing from the second');
    await second.call('close');
    const third = await Keeper.of(t, folder);
    assert.deepEqual([await third.get('a'), await third.get('b')], [3, 5]);
  });
}

it('an owner whose lock was deleted is fenced though the next has gone again', async (t) => {
  const folder = await makeFolder(t);
  const first = await Keeper.of(t, folder);
  await first.call('saveCreds');
  await rm(join(folder, 'vault.lock'));
  const second = await Keeper.of(t, folder);
  assert.deepEqual(await second.set('a', 2), {});
  await second.call('close');
  assert.equal((await first.set('a', 3)).code, 'FENCED');
});

it('a deleted lock is taken again with the next write', async (t) => {
  const folder = await makeFolder(t);
  const first = await Keeper.of(t, folder);
  await first.call('saveCreds');
  await rm(join(folder, 'vault.lock'));
  assert.deepEqual(await first.set('a', 1), {});
  const second = await Keeper.of(t, folder);
  assert.equal(second.opened.code, 'SESSION_BUSY');
});

it('handles of one process that differ in exclusive are refused at once', async (t) => {
  const folder = await makeFolder(t);
  for (const exclusive of [true, false]) {
    const keeper = await Keeper.of(t, folder, { exclusive });
    const start = performance.now();
    const second = await keeper.call('open', {
      as: 'second',
      folder,
      options: { exclusive: !exclusive, openTimeout: 60_000 },
    });
    assert.equal(second.code, 'CONFIG_INVALID', JSON.stringify(second));
    assert.equal(second.field, 'exclusive');
    assert.ok(performance.now() - start < 30_000);
    await keeper.call('close');
  }
});
