/** Readable keys are gone from the files once they are sealed or deleted. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { makeFolder } from '../crash/support.js';
import { Keeper, type Outcome } from './keeper.js';

const PLANTED = 'a-key-in-plain-sight';
const KEY = '0123456789abcdef'.repeat(4);

/** Names of the store's files that hold the planted bytes. */
async function traces(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(folder)) {
    if ((await readFile(join(folder, name))).includes(PLANTED)) {
      found.push(name);
    }
  }
  return found;
}

/** Writes, overwrites and deletes readable records of many sizes. */
async function plant(t: TestContext, folder: string): Promise<Keeper & { opened: Outcome }> {
  const keeper = await Keeper.of(t, folder);
  await keeper.call('saveCreds');
  for (let round = 0; round < 12; round++) {
    const records: Record<string, unknown> = {};
    for (let id = 0; id < 30; id++) {
      const size = [1, 20, 90, 100, 200, 500, 2000][(id * 5 + round * 3) % 7] as number;
      records[`${(id * 7 + round) % 50}`] = (id + round) % 6 === 0 ? null : PLANTED.repeat(size);
    }
    assert.deepEqual(await keeper.call('set', { patch: { 'sender-key': records } }), {});
  }
  assert.ok((await traces(folder)).length > 0, 'the test sees what is there');
  return keeper;
}

it('nothing readable is left of a deleted session', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await plant(t, folder);
  assert.equal((await keeper.call('delete')).code, undefined);
  assert.deepEqual(await traces(folder), []);
  await keeper.call('close');
  assert.deepEqual(await traces(folder), []);
});

it('nothing readable is left once a session is sealed', async (t) => {
  const folder = await makeFolder(t);
  const plain = await plant(t, folder);
  await plain.call('close');
  const options = { masterKey: KEY, security: { acceptPlain: true } };
  const sealed = await Keeper.of(t, folder, options);
  assert.equal(sealed.opened.value, plain.opened.value);
  const { value } = await sealed.call('rotateKey');
  assert.ok((value as { resealed: number }).resealed > 10, JSON.stringify(value));
  assert.deepEqual(await traces(folder), []);
  assert.deepEqual(await sealed.set('a', 1), {}, 'it goes on');
  await sealed.crash();
  assert.deepEqual(await traces(folder), []);
  const next = await Keeper.of(t, folder, options);
  assert.equal(await next.get('a'), 1);
});
