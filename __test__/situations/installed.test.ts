/** The package as it is packed and installed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Project, ROOT } from './project.js';

const SUBPATHS = [
  '.',
  './redis',
  './mongodb',
  './postgres',
  './hybrid',
  './types',
  './crypto',
  './metrics',
  './conformance',
];

describe('the installed package', () => {
  const project = new Project();
  const installed = join(project.folder, 'node_modules', 'baileys-vault');

  before(() => {
    project.installVault().link('baileys').link('@types/node').link('undici-types');
  });
  after(() => project.remove());

  it('has what runs and what is read, and nothing else', () => {
    for (const file of [
      'dist/index.js',
      'dist/index.mjs',
      'docs/guides/bundlers.md',
      'README.md',
      'LICENSE',
    ]) {
      assert.ok(existsSync(join(installed, file)), file);
    }
    for (const file of ['index.js', 'src', 'lib', '__test__', 'scripts', 'CONTRIBUTING.md']) {
      assert.ok(!existsSync(join(installed, file)), file);
    }
  });

  it('exports each subpath that there is, and no other', () => {
    const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
      exports: object;
    };
    assert.deepEqual(Object.keys(exports).sort(), [...SUBPATHS, './package.json'].sort());
  });

  it('opens and keeps a session, from ES modules and CommonJS', async () => {
    const body = (load: string) => `
      (async () => {
        const { useMultiFileAuthState } = ${load};
        const { state, saveCreds, store } = await useMultiFileAuthState('auth');
        console.log(Buffer.from(state.creds.noiseKey.public).toString('hex'));
        await saveCreds();
        await store.close();
      })();`;
    project.write('bot.mjs', body("await import('baileys-vault')"));
    project.write('bot.cjs', body("require('baileys-vault')"));
    const first = await project.run(['bot.mjs']);
    assert.match(first.stdout, /^[0-9a-f]{64}\n$/, first.stderr);
    const second = await project.run(['bot.cjs']);
    assert.equal(second.stdout, first.stdout, second.stderr);
  });

  it('has its command line on the path of scripts', async () => {
    const { version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
      version: string;
    };
    const { status, stdout, stderr } = spawnSync('npx', ['--no-install', 'baileys-vault', '--version'], {
      cwd: project.folder,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    });
    assert.deepEqual([status, stdout], [0, `${version}\n`], stderr);
  });

  it('runs its conformance suite', async () => {
    project.write(
      'suite.test.mjs',
      `import { useMultiFileAuthState } from 'baileys-vault';
       import { testAuthStore } from 'baileys-vault/conformance';
       testAuthStore((folder) => useMultiFileAuthState(folder), { name: 'my store' });`,
    );
    const { code, stdout } = await project.run(['--test', '--test-reporter=tap', 'suite.test.mjs']);
    assert.equal(code, 0, stdout);
    assert.ok(Number(/^# pass (\d+)/m.exec(stdout)?.[1]) > 40, stdout);
  });

  const settings = {
    node16: { module: 'Node16', moduleResolution: 'Node16' },
    'node16, CommonJS': { module: 'Node16', moduleResolution: 'Node16', extension: 'cts' },
    nodenext: { module: 'NodeNext', moduleResolution: 'NodeNext' },
    bundler: { module: 'ESNext', moduleResolution: 'Bundler' },
  };
  for (const [name, { extension = 'mts', ...options }] of Object.entries<{
    module: string;
    moduleResolution: string;
    extension?: string;
  }>(settings)) {
    it(`has types for every subpath under ${name}`, () => {
      const lines = SUBPATHS.map((path, at) => `import * as m${at} from 'baileys-vault${path.slice(1)}';`);
      // A name that is not there must be an error: then the types are not \`any\`.
      const uses = SUBPATHS.map((_, at) => `m${at};\n// @ts-expect-error\nm${at}.noSuchName;`);
      const file = `types.${extension}`;
      project.write(file, [...lines, ...uses, ''].join('\n'));
      const compilerOptions = {
        ...options,
        noEmit: true,
        strict: true,
        target: 'ES2022',
        skipLibCheck: true,
        types: ['node'],
      };
      project.write('tsconfig.json', JSON.stringify({ compilerOptions, files: [file] }));
      const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
      const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', '.'], {
        cwd: project.folder,
        encoding: 'utf8',
      });
      assert.equal(stdout, '');
      assert.equal(status, 0);
    });
  }
});
