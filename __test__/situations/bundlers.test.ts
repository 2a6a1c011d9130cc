/** What bundlers make of a program. `npm run test:bundlers` tries the others, with the lines of docs/guides/bundlers.md. */
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { findAddon, PROGRAMS, Project } from './project.js';

interface Esbuild {
  build(
    options: object,
  ): Promise<{ warnings: { text: string }[]; metafile: { inputs: Record<string, unknown> } }>;
}

// Not a dependency of our own: tsx brings it.
const esbuild = createRequire(require.resolve('tsx'))('esbuild') as Esbuild;
const OPENED = /^a session was opened, saved and opened again\n$/;

describe('a program bundled by esbuild', () => {
  const project = new Project();
  let program: string;

  before(() => {
    project.link('baileys').linkVault();
    program = join(project.folder, 'bot.mjs');
    copyFileSync(join(PROGRAMS, 'bundled.mjs'), program);
  });
  after(() => project.remove());

  const build = (outfile: string, options: object) =>
    esbuild.build({
      entryPoints: [program],
      bundle: true,
      platform: 'node',
      metafile: true,
      logLevel: 'silent',
      outfile: join(project.folder, outfile),
      ...options,
    });

  it('opens a session with the packages external', async () => {
    const { warnings } = await build('dist/bot.mjs', { format: 'esm', packages: 'external' });
    assert.deepEqual(warnings, []);
    const { stdout, stderr } = await project.run(['dist/bot.mjs']);
    assert.match(stdout, OPENED, stderr);
  });

  it('builds with everything in it and no word about the native core, which it finds when it runs', async () => {
    const { metafile } = await build('dist/bot.cjs', { format: 'cjs' });
    const inputs = Object.keys(metafile.inputs);
    assert.ok(inputs.some((input) => input.endsWith('dist/native/load.js')));
    assert.ok(!inputs.some((input) => input.endsWith('.node') && input.includes('vault')));
    const { stdout, stderr } = await project.run(['dist/bot.cjs']);
    assert.match(stdout, OPENED, stderr);
  });

  it('runs alone with the native core beside it, and says what is missing without', async () => {
    const { folder } = project;
    await build('alone/bot.cjs', { format: 'cjs' });
    const elsewhere = new Project();
    try {
      cpSync(join(folder, 'alone'), elsewhere.folder, { recursive: true });
      const without = await elsewhere.run(['bot.cjs']);
      assert.equal(without.code, 1);
      assert.match(
        without.stderr,
        /^NATIVE_MISSING .*bundled.*docs\/guides\/bundlers\.md.*BAILEYS_VAULT_NATIVE/s,
      );

      const kept = join(elsewhere.folder, 'kept');
      mkdirSync(kept);
      const addon = findAddon();
      copyFileSync(addon.path, join(kept, 'core.node'));
      const named = await elsewhere.run(['bot.cjs'], { BAILEYS_VAULT_NATIVE: 'kept/core.node' });
      assert.match(named.stdout, OPENED, named.stderr);

      copyFileSync(addon.path, join(elsewhere.folder, addon.name));
      const beside = await elsewhere.run(['bot.cjs']);
      assert.match(beside.stdout, OPENED, beside.stderr);
    } finally {
      elsewhere.remove();
    }
  });

  it('says which file cannot be loaded, and why', async () => {
    project.write('broken.node', 'not a library');
    const { code, stderr } = await project.run(['dist/bot.mjs'], { BAILEYS_VAULT_NATIVE: 'broken.node' });
    assert.equal(code, 1);
    assert.match(stderr, /^NATIVE_MISSING .*broken\.node cannot be loaded on .*: ./s);
  });
});
