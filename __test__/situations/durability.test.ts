/** What a store promises about the disk, and that nobody gets less than was asked for. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFolder } from '../crash/support.js';
import { Keeper } from './keeper.js';

it('a second opener that asks for other settings is told', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await Keeper.of(t, folder, { durability: 'process', resilience: { maxRetries: 2 } });
  await keeper.call('saveCreds');
  const open = (options: Record<string, unknown>) =>
    keeper.call('open', { as: 'second', folder, options: { resilience: { maxRetries: 2 }, ...options } });
  const differing: [string, Record<string, unknown>][] = [
    ['durability', { durability: 'full' }],
    ['resilience.maxRetries', { resilience: { maxRetries: 3 } }],
    ['resilience.operationTimeout', { resilience: { maxRetries: 2, operationTimeout: 100 } }],
    ['resilience.breaker.window', { resilience: { maxRetries: 2, breaker: { window: 5 } } }],
  ];
  for (const [field, options] of differing) {
    const { code, field: named } = await open(options);
    assert.deepEqual({ code, field: named }, { code: 'CONFIG_INVALID', field });
  }
  // What is each opener's own may differ.
  assert.equal((await open({ openTimeout: 5, cacheBytes: 1 << 20 })).value, keeper.opened.value);
  await keeper.call('close', { as: 'second' });
  await keeper.call('close');
  assert.equal((await open({ durability: 'full' })).value, keeper.opened.value, 'once the first has closed');
});

it('a session in a folder has no time to live', async (t) => {
  const folder = await makeFolder(t);
  const keeper = await Keeper.of(t, folder);
  await keeper.call('saveCreds');
  for (const seconds of [0, 1, 60]) {
    const { code, field } = await keeper.call('touch', { seconds });
    assert.deepEqual({ code, field }, { code: 'CONFIG_INVALID', field: 'ttlSeconds' });
  }
  assert.equal((await keeper.call('touch')).code, undefined);
  assert.deepEqual(await keeper.set('a', 1), {});
  assert.equal((await keeper.call('exists')).value, true);
  const hook = await Keeper.of(t, join(folder, 'other'), { ttl: 60 });
  assert.equal(hook.opened.code, 'CONFIG_INVALID');
  assert.match(hook.opened.message ?? '', /ttl/);
});

/** Makes flushing a log to the disk fail once for each time that the file named by FAIL_FLUSH is there. */
const FAILING = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int fails(int fd) {
  char link[64], path[4096];
  const char *flag = getenv("FAIL_FLUSH");
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (!flag || length < 4 || strncmp(path + length - 4, "-wal", 4)) return 0;
  return unlink(flag) == 0;
}
#define FLUSH(name) int name(int fd) { \\
  if (fails(fd)) { errno = EIO; return -1; } \\
  return ((int (*)(int))dlsym(RTLD_NEXT, #name))(fd); }
FLUSH(fsync)
FLUSH(fdatasync)
`;

for (const durability of ['process', 'full'] as const) {
  const linux = process.platform === 'linux' ? {} : { skip: 'needs LD_PRELOAD' };
  it(`a flush that failed once is not made good by one that works: ${durability}`, linux, async (t) => {
    const tools = await makeFolder(t);
    const shim = join(tools, 'shim.so');
    await writeFile(join(tools, 'shim.c'), FAILING);
    execFileSync('cc', ['-shared', '-fPIC', '-o', shim, join(tools, 'shim.c'), '-ldl']);
    const flag = join(tools, 'fail');
    const folder = join(tools, 'folder');
    const keeper = await Keeper.of(t, folder, { durability }, { LD_PRELOAD: shim, FAIL_FLUSH: flag });
    await keeper.call('saveCreds');
    await keeper.set('b', 'stored before the flush failed');
    await writeFile(flag, '');
    const deadline = Date.now() + 30_000;
    let refused = await keeper.set('a', 2);
    while (refused.code === undefined) {
      assert.ok(Date.now() < deadline, 'the flush does not fail');
      await sleep(20);
      refused = await keeper.set('a', 2);
    }
    assert.equal(refused.code, 'STORAGE_UNAVAILABLE');
    // It goes on by itself, once all of the log is in the database.
    let last = refused;
    while (last.code !== undefined) {
      assert.ok(Date.now() < deadline, 'it does not go on');
      await sleep(50);
      last = await keeper.set('a', 3);
    }
    const database = await readFile(join(folder, 'vault.db'));
    assert.ok(database.includes('stored before the flush failed'), 'not before that');
    await keeper.crash();
    await rm(flag, { force: true });
    const next = await Keeper.of(t, folder);
    assert.equal(await next.get('a'), 3);
  });
}
