/** A full disk: a typed error, nothing acknowledged lost, and on with the work once there is space again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { light } from './support.js';

const SIZE_MB = 4;
const RECORD = 'x'.repeat(20_000);

/** Runs a program as root, which may need `sudo`; returns what it complained about, or undefined. */
function asRoot(program: string, ...args: string[]): string | undefined {
  const [command, prefix] = process.getuid?.() === 0 ? [program, []] : ['sudo', ['-n', program]];
  const { status, stderr, error } = spawnSync(command, [...prefix, ...args], { encoding: 'utf8' });
  return status === 0 ? undefined : `${program}: ${error?.message ?? stderr.trim()}`;
}

/** A small file system of its own, or undefined where none can be mounted: then the test is skipped. */
async function makeDisk(t: TestContext): Promise<string | undefined> {
  if (process.platform !== 'linux') {
    t.skip('needs tmpfs, which only Linux has');
    return undefined;
  }
  const folder = await mkdtemp(join(tmpdir(), 'vault-disk-'));
  const obstacle = asRoot('mount', '-t', 'tmpfs', '-o', `size=${SIZE_MB}m`, 'tmpfs', folder);
  if (obstacle !== undefined) {
    await rm(folder, { recursive: true });
    assert.equal(process.env.CI, undefined, obstacle);
    t.skip(obstacle);
    return undefined;
  }
  t.after(async () => {
    // Lazily: after a failure the store may still be open in there.
    assert.equal(asRoot('umount', '-l', folder), undefined);
    await rm(folder, { recursive: true });
  });
  return folder;
}

for (const durability of ['process', 'full'] as const) {
  it(`a full disk, durability ${durability}`, async (t) => {
    const { folder, vault } = await light();
    const disk = await makeDisk(t);
    if (disk === undefined) {
      return;
    }
    const location = join(disk, 'session');
    const opened = await folder(location, { durability });
    await opened.saveCreds();
    const { advSecretKey } = opened.state.creds;
    await opened.state.keys.set({ session: { shared: { n: -1 } as never } });
    const filler = join(disk, 'filler');
    const { bavail, bsize } = await statfs(disk);
    await writeFile(filler, Buffer.alloc(bavail * bsize - 400_000));

    let acknowledged = 0;
    let failure: unknown;
    for (let n = 0; failure === undefined; n++) {
      assert.ok(n < (SIZE_MB << 20) / RECORD.length, 'the disk never filled');
      try {
        await opened.state.keys.set({
          session: { [n]: { n, RECORD } as never, shared: { n } as never },
        });
        acknowledged = n;
      } catch (error) {
        failure = error;
      }
    }
    assert.ok(failure instanceof vault.StorageError, String(failure));
    assert.equal(failure.code, 'STORAGE_FULL');

    const expectIntact = async ({ state }: Awaited<ReturnType<typeof folder>>) => {
      const ids = Array.from({ length: acknowledged + 2 }, (_, n) => `${n}`);
      const found = (await state.keys.get('session', [...ids, 'shared'])) as unknown as Record<
        string,
        { n: number }
      >;
      assert.deepEqual(
        Object.values(found).map(({ n }) => n),
        [...ids.slice(0, -1).map(Number), acknowledged],
        'the failed patch is there by half, or an acknowledged one is not',
      );
      assert.equal(state.creds.advSecretKey, advSecretKey);
    };
    await expectIntact(opened);

    await rm(filler);
    await opened.state.keys.set({ session: { after: { n: 1 } as never } });
    await expectIntact(opened);
    await opened.store.close();
    const again = await folder(location, { durability });
    await expectIntact(again);
    assert.deepEqual(await again.state.keys.get('session', ['after']), { after: { n: 1 } });
    await again.store.close();
  });
}

it('refuses to make a store on a full disk, and makes it once there is space', async (t) => {
  const { folder, vault } = await light();
  const disk = await makeDisk(t);
  if (disk === undefined) {
    return;
  }
  const filler = join(disk, 'filler');
  const { bavail, bsize } = await statfs(disk);
  await writeFile(filler, Buffer.alloc(bavail * bsize));
  await assert.rejects(
    folder(join(disk, 'session')),
    (error: unknown) => error instanceof vault.StorageError && error.code === 'STORAGE_FULL',
  );
  await rm(filler);
  const { saveCreds, store } = await folder(join(disk, 'session'));
  await saveCreds();
  await store.close();
});
