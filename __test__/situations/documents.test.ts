/** What the README and docs/ say is so: their code is compiled and run, and what they name is there. */
import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { pathToFileURL } from 'node:url';
import { describeWith, sharedMongo, sharedPostgres, sharedRedis, until } from '../support/services.js';
import { PROGRAMS, Project, ROOT } from './project.js';

interface Block {
  heading: string;
  language: string;
  line: number;
  code: string;
}

const filesUnder = (folder: string, ending: RegExp): string[] =>
  readdirSync(join(ROOT, folder), { encoding: 'utf8', recursive: true })
    .filter((name) => ending.test(name))
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`);

const PAGES = filesUnder('docs', /\.md$/);
const DOCUMENTS = [...readdirSync(ROOT).filter((name) => name.endsWith('.md')), ...PAGES];
const TSX = ['--import', pathToFileURL(require.resolve('tsx')).href];
const WAIT_MS = 60_000;

const textOf = (document: string): string => readFileSync(join(ROOT, document), 'utf8');
const manifest = JSON.parse(textOf('package.json')) as {
  exports: Record<string, unknown>;
  scripts: Record<string, string>;
};

let blocks: (Block & { document: string; name: string })[];
before(async () => {
  // biome-ignore format: the path is a file of this repository, its type is above
  const { codeBlocks } = (await import(pathToFileURL(join(ROOT, 'scripts/markdown.mjs')).href)) as { codeBlocks(text: string): Block[] };
  blocks = DOCUMENTS.flatMap((document) =>
    codeBlocks(textOf(document)).map((block) => ({
      ...block,
      document,
      name: `${document.replace(/\W/g, '-')}-${block.line}`,
    })),
  );
});

/** The anchors that GitHub gives the headings of a page. */
function anchorsOf(document: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of textOf(document)
    .replace(/^```[\s\S]*?^```/gm, '')
    .matchAll(/^#+ (.+)$/gm)) {
    const anchor = (heading as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-');
    assert.ok(!anchors.has(anchor), `${document} has two headings "${heading}"`);
    anchors.add(anchor);
  }
  return anchors;
}

const inLanguage = (language: string) => blocks.filter((block) => block.language === language);

/** The one block of a language under a heading. */
function blockOf(document: string, heading: string, language: string): string {
  const found = blocks.filter(
    (block) => block.document === document && block.heading === heading && block.language === language,
  );
  assert.equal(found.length, 1, `${document}, ${heading}`);
  return (found[0] as Block).code;
}

describe('the documents', () => {
  it('have code of languages that are tried below, or that is data', () => {
    const languages = new Set(blocks.map(({ language }) => language));
    assert.deepEqual([...languages].sort(), ['diff', 'js', 'sh', 'sql', 'text', 'ts']);
  });

  it('have TypeScript that compiles', (t) => {
    const project = new Project();
    t.after(() => project.remove());
    project.link('baileys').link('@types/node').link('undici-types').linkVault();
    const files = inLanguage('ts').map(({ name, code }) => {
      project.write(`${name}.mts`, code);
      return `${name}.mts`;
    });
    assert.ok(files.length >= 3);
    const compilerOptions = {
      ...{ module: 'NodeNext', target: 'ES2022', strict: true, noEmit: true, skipLibCheck: true },
      types: ['node'],
    };
    project.write('tsconfig.json', JSON.stringify({ compilerOptions, files }));
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const { stdout } = spawnSync(process.execPath, [tsc, '-p', '.'], {
      cwd: project.folder,
      encoding: 'utf8',
    });
    assert.equal(stdout, '');
  });

  it('have JavaScript that parses', async (t) => {
    const project = new Project();
    t.after(() => project.remove());
    for (const { code, document } of inLanguage('js')) {
      const [, file] = /^\/\/ (\S+)\n/.exec(code) ?? [];
      assert.ok(file, `${document}: the first line says the file's name`);
      project.write(file, code);
      const { code: status, stderr } = await project.run(['--check', file]);
      assert.equal(status, 0, stderr);
    }
  });

  it('name scripts that there are', () => {
    const named = DOCUMENTS.flatMap((document) => [
      ...textOf(document).matchAll(/npm (?:run ([\w:]+)|(start|test)\b)/g),
    ]);
    assert.ok(named.length > 5);
    for (const [text, script, short] of named) {
      assert.ok(manifest.scripts[(script ?? short) as string], text);
    }
  });

  it('name subpaths and exports that there are', async () => {
    for (const document of DOCUMENTS) {
      const text = textOf(document);
      for (const [, subpath] of text.matchAll(/'baileys-vault(\/[\w/]+)?'/g)) {
        assert.ok(manifest.exports[`.${subpath ?? ''}`], `${document}: ${subpath}`);
      }
      for (const [, subpath] of text.matchAll(/`(\/(?:redis|mongodb|hybrid|types|crypto|metrics|\w+))`/g)) {
        assert.ok(manifest.exports[`.${subpath}`], `${document}: ${subpath}`);
      }
      const imports = text.matchAll(/import \{([^}]+)\} from 'baileys-vault(\/[\w/]+)?'/g);
      for (const [, names, subpath] of imports) {
        const module = require(join(ROOT, 'dist', `${subpath?.slice(1) ?? 'index'}`)) as object;
        for (const name of (names as string)
          .split(',')
          .map((part) => part.trim())
          .filter(Boolean)) {
          assert.ok(name in module, `${document}: ${name}`);
        }
      }
    }
  });

  it('link to files and headings that there are, and name folders that there are', () => {
    let anchors = 0;
    for (const document of DOCUMENTS) {
      const links = textOf(document).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)/g);
      for (const [link, path, anchor] of links) {
        const target = path ? join(dirname(document), path) : document;
        assert.ok(existsSync(join(ROOT, target)), `${document}: ${link}`);
        if (anchor === undefined) continue;
        assert.ok(anchorsOf(target).has(anchor), `${document}: no heading for ${link}`);
        anchors += 1;
      }
      const paths = textOf(document).matchAll(
        /`((?:__test__|scripts|benches|examples|src|lib|npm)\/[\w./-]*)`/g,
      );
      for (const [, path] of paths) {
        assert.ok(existsSync(join(ROOT, path as string)), `${document}: ${path}`);
      }
    }
    assert.ok(anchors > 0);
  });

  it('are all in the index', () => {
    const linked = [...textOf('docs/README.md').matchAll(/\]\(([^)#]+\.md)\)/g)].map(([, path]) =>
      join('docs', path as string).replaceAll('\\', '/'),
    );
    const pages = linked.filter((page) => page.startsWith('docs/'));
    assert.deepEqual(pages.sort(), PAGES.filter((page) => page !== 'docs/README.md').sort());
  });

  it('are where the sources say', () => {
    const sources = ['src', 'lib', 'scripts', '__test__', 'benches', 'examples'].flatMap((folder) =>
      filesUnder(folder, /\.(rs|lua|[cm]?[jt]s)$/),
    );
    let named = 0;
    for (const source of sources) {
      for (const [path] of textOf(source).matchAll(/\bdocs\/[\w/-]+\.md/g)) {
        assert.ok(existsSync(join(ROOT, path)), `${source}: ${path}`);
        named += 1;
      }
    }
    assert.ok(named > 10);
  });

  it('name Rust files, modules and tests that there are', () => {
    const files = filesUnder('src', /\.(rs|lua)$/);
    const text = files.map(textOf).join('\n');
    const exists = (path: string) => files.some((file) => file.endsWith(`/${path}`));
    let named = 0;
    for (const row of textOf('docs/internals/guarantees.md').split('\n')) {
      const cells = row.startsWith('|') ? row.split(' | ') : [];
      for (const [, path] of row.matchAll(/`([\w/]+\.(?:rs|lua))`/g)) {
        assert.ok(exists(path as string), path);
      }
      for (const [, name] of (cells.at(-1) ?? '').matchAll(/`((?:\w+::)*\w+)`/g)) {
        const last = (name as string).split('::').at(-1) as string;
        if (last === name && !last.includes('_')) continue;
        const modules = (name as string).split('::').slice(0, -1);
        for (const module of modules) assert.match(text, new RegExp(`\\bmod ${module}\\b`), `${name}`);
        assert.ok(new RegExp(`\\b(?:fn|mod) ${last}\\b`).test(text), `no test ${name}`);
        named += 1;
      }
    }
    assert.ok(named > 15);
  });

  it('show envelopes that the Rust tests have', () => {
    const samples = readFileSync(join(ROOT, 'src/record/seal/tests.rs'), 'utf8').replaceAll(/\\\s+/g, '');
    const shown = blocks.filter(
      ({ document, heading }) => document === 'docs/internals/envelope.md' && heading === 'Example',
    );
    assert.equal(shown.length, 4);
    for (const { code } of shown) {
      const hex = code.replaceAll(/\s/g, '');
      assert.ok(samples.includes(`"${hex}"`), hex);
    }
  });

  it('say of every error code what to do', () => {
    const codes = (text: string) =>
      new Set(text.match(/`[A-Z]+_[A-Z_]+`|`(?:FENCED|CLOSED|TIMEOUT)`/g) ?? []);
    const [, listed] = textOf('docs/guides/options.md').split('\n## Errors\n');
    const said = codes(textOf('docs/guides/operation.md'));
    const missing = [...codes((listed as string).split('\n## ')[0] as string)].filter(
      (code) => !said.has(code) && code !== '`COMPRESSION_FAILED`',
    );
    assert.deepEqual(missing, []);
  });
});

describe('the programs of the documents, with a socket that reaches nothing', () => {
  const project = new Project();

  before(() => {
    project.link('baileys-real', join(ROOT, 'node_modules', 'baileys')).linkVault();
    project.write(
      'node_modules/baileys/package.json',
      '{"type":"module","main":"index.mjs","version":"7.0.0"}',
    );
    project.write('node_modules/baileys/index.mjs', readFileSync(join(PROGRAMS, 'fake-baileys.mjs'), 'utf8'));
    project.write('use.mts', blockOf('README.md', 'Use', 'ts'));
    project.write('bot.mts', blockOf('docs/guides/operation.md', 'A bot that ends in order', 'ts'));
  });
  after(() => project.remove());

  it('the README’s: each way to make a key makes one, and without it nothing is stored', async (t) => {
    const ways = blockOf('README.md', 'Use', 'sh')
      .trim()
      .split('\n')
      .map((line) => spawnSync(line, { shell: true, encoding: 'utf8' }));
    const made = ways.filter(({ status }) => status === 0).map(({ stdout }) => stdout.trim());
    assert.ok(made.length > 0 && new Set(made).size === made.length);
    // Not every machine has openssl; every machine that runs this has the other one.
    assert.equal(ways.at(-1)?.status, 0, ways.at(-1)?.stderr);
    for (const [at, key] of made.entries()) {
      const bot = new Bot(t, folderOf(`key-${at}`), 'creds', 'use.mts', { MASTER_KEY: key });
      await bot.says('done');
    }
    const without = folderOf('key-missing');
    const bot = new Bot(t, without, 'creds', 'use.mts', { MASTER_KEY: undefined });
    assert.deepEqual(await bot.closed, [1, null]);
    assert.match(bot.said, /masterKey/);
    assert.ok(!existsSync(join(without, 'auth')));
  });

  it('the README’s: it connects again after any end but a logout, which ends the session', async (t) => {
    const env = { MASTER_KEY: 'ab'.repeat(32) };
    const folder = folderOf('use');
    const bot = new Bot(t, folder, 'creds,close:515,creds,close:408,creds,close:401', 'use.mts', env);
    await until('it has logged out', async () => bot.identities().length === 3, WAIT_MS);
    assert.equal(new Set(bot.identities()).size, 1, bot.said);
    await until('the session is gone', async () => !existsSync(join(folder, 'auth/creds.json')), WAIT_MS);
    bot.child.kill('SIGKILL');
    await bot.closed;
    const again = new Bot(t, folder, 'creds', 'use.mts', env);
    await again.says('done');
    assert.notEqual(again.identities()[0], bot.identities()[0]);
  });

  it('the README’s: the same identity at the second start, without a word', async () => {
    const env = { MASTER_KEY: 'ab'.repeat(32) };
    const first = await project.run([...TSX, 'use.mts'], env);
    const second = await project.run([...TSX, 'use.mts'], env);
    assert.match(first.stdout, /^socket [0-9a-f]{64}\ndone\n$/, first.stderr);
    assert.equal(second.stdout, first.stdout);
    assert.equal(first.stderr + second.stderr, '');
  });

  /** The bot, in a folder of its own, as a supervisor starts it. */
  class Bot {
    readonly child: ChildProcess;
    readonly closed: Promise<unknown[]>;
    ready = false;
    said = '';

    constructor(
      t: TestContext,
      folder: string,
      steps: string,
      file = 'bot.mts',
      env: Record<string, string | undefined> = {},
    ) {
      this.child = fork(join(project.folder, file), [], {
        cwd: folder,
        execArgv: TSX,
        env: { ...process.env, FAKE_SOCKET: steps, FAKE_STAYS: 'true', ...env },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      });
      this.closed = once(this.child, 'close');
      this.child.on('message', (message) => {
        this.ready ||= message === 'ready';
      });
      for (const stream of [this.child.stdout, this.child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          this.said += text;
        });
      }
      t.after(async () => {
        this.child.kill('SIGKILL');
        await this.closed;
      });
    }

    says = (text: string) =>
      until(`it says ${text}; it said ${this.said}`, async () => this.said.includes(text), WAIT_MS);
    isReady = () => until('it is ready', async () => this.ready, WAIT_MS);
    identities = () => [...this.said.matchAll(/^socket (\w+)$/gm)].map(([, key]) => key as string);

    async end(signal: NodeJS.Signals): Promise<void> {
      this.child.kill(signal);
      assert.deepEqual(await this.closed, [0, null], this.said);
    }
  }

  const folderOf = (name: string): string => dirname(project.write(`${name}/.keep`, ''));

  it('the bot’s: it connects again after any end but a logout, and ends in order', async (t) => {
    const folder = folderOf('reconnects');
    const bot = new Bot(t, folder, 'creds,close:428,creds,close:408,creds');
    await bot.says('done');
    await bot.end('SIGTERM');
    const again = new Bot(t, folder, 'creds');
    await again.says('done');
    await again.end('SIGINT');
    const identities = [...bot.identities(), ...again.identities()];
    assert.equal(identities.length, 4);
    assert.equal(new Set(identities).size, 1);
  });

  it('the bot’s: a logout ends it and the session, and the next start pairs anew', async (t) => {
    const folder = folderOf('logout');
    const bot = new Bot(t, folder, 'creds,close:401');
    assert.deepEqual(await bot.closed, [0, null], bot.said);
    const again = new Bot(t, folder, 'creds');
    await again.says('done');
    await again.end('SIGTERM');
    assert.notDeepEqual(again.identities(), bot.identities());
  });

  for (const [file, status] of [
    ['bot.mts', 0],
    ['use.mts', 1],
  ] as const) {
    it(`${file}: it ends when another process has taken the session over, which goes on`, async (t) => {
      const env = { MASTER_KEY: 'ab'.repeat(32) };
      const folder = folderOf(`taken-${file}`);
      const bot = new Bot(t, folder, 'creds,wait,creds', file, env);
      await bot.says('waits');
      const next = new Bot(t, folder, 'creds,wait,creds', file, env);
      const getsIn = async () =>
        readFileSync(join(folder, 'auth/vault.holder'), 'utf8').includes(`"pid":${next.child.pid},`);
      // Nobody can hold a lock that is gone: the next one gets in, unless the first has locked it anew meanwhile.
      await until(
        'the next one gets in',
        async () => {
          rmSync(join(folder, 'auth/vault.lock'), { force: true });
          return until('', getsIn, 3_000).then(
            () => true,
            () => false,
          );
        },
        WAIT_MS,
      );
      await next.says('waits');
      bot.child.send('go on');
      await until('it ends', async () => bot.child.exitCode !== null, WAIT_MS);
      assert.deepEqual(await bot.closed, [status, null], bot.said);
      assert.doesNotMatch(bot.said, /at file:/, 'it did not end by an exception');
      next.child.send('go on');
      await next.says('done');
      assert.deepEqual(next.identities(), bot.identities());
      assert.doesNotMatch(next.said, /FENCED/);
    });
  }

  it('a rolling restart: the new process is ready at once, and has the session when the old one ends', async (t) => {
    const folder = folderOf('rolling');
    const old = new Bot(t, folder, 'creds');
    await old.says('done');
    // As pm2 does with `wait_ready`.
    const next = new Bot(t, folder, 'creds');
    await next.isReady();
    assert.deepEqual(next.identities(), []);
    await old.end('SIGINT');
    await next.says('done');
    assert.deepEqual(next.identities(), old.identities());
    await next.end('SIGINT');
  });

  it('a rolling restart the other way round: the new process waits, and says who has the session', async (t) => {
    const READY = "process.send?.('ready');\n";
    const right = blockOf('docs/guides/operation.md', 'A bot that ends in order', 'ts');
    assert.ok(right.includes(READY));
    project.write('wrong.mts', right.replace(READY, '').replace('60_000', '500') + READY);
    const folder = folderOf('wrong');
    const old = new Bot(t, folder, 'creds');
    await old.says('done');
    const next = new Bot(t, folder, 'creds', 'wrong.mts');
    const [code] = await next.closed;
    assert.equal(code, 1);
    assert.equal(next.ready, false);
    assert.match(next.said, /SESSION_BUSY/);
    await old.end('SIGTERM');
  });
});

describeWith(['redis', 'mongo', 'postgres'], 'the hooks of docs/guides/options.md', () => {
  it('open on the servers that are named', async (t) => {
    const project = new Project();
    t.after(() => project.remove());
    project.link('baileys').linkVault();
    const code = blockOf('docs/guides/options.md', 'Options', 'ts')
      .replace('redis://localhost:6379', await sharedRedis())
      .replace('mongodb://localhost:27017', await sharedMongo())
      .replace('postgres://localhost:5432/app', await sharedPostgres())
      .replaceAll("sessionId: 'bot", `sessionId: 'documents-${process.pid}`);
    project.write('hooks.mts', `${code}\nprocess.exit();\n`);
    const { code: status, stderr } = await project.run([...TSX, 'hooks.mts']);
    assert.equal(status, 0, stderr);
  });
});
