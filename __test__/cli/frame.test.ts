/** What all commands have in common: help, errors, exit codes, completion, colour. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Command } from '../../lib/cli/command.js';
import { COMMANDS } from '../../lib/cli/commands/index.js';
import { CliError, EXIT, exitCodeOf } from '../../lib/cli/errors.js';
import { commandHelp } from '../../lib/cli/help.js';
import { nearest, parse } from '../../lib/cli/parse.js';
import { render } from '../../lib/cli/progress.js';
import { bytes, duration, table } from '../../lib/cli/text.js';
import { makeFolder } from '../situations/support.js';
import { cli, environment, json, MAIN, ROOT, refused } from './support.js';

const GUIDE = readFileSync(join(ROOT, 'docs/guides/cli.md'), 'utf8');

const has = (program: string): boolean =>
  spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;

/** Runs a shell command on a terminal, as `script` makes one. */
function onTerminal(command: string, env: Record<string, string> = {}, input = ''): string {
  const { stdout } = spawnSync('script', ['-qec', command, '/dev/null'], {
    encoding: 'utf8',
    env: { ...environment({ TERM: 'xterm-256color' }), ...env },
    input,
  });
  return stdout;
}

const plain = (_format: unknown, text: string): string => text;
const commandOf = (name: string): Command => {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  assert.ok(command, name);
  return command;
};

describe('help', () => {
  it('lists every command', async (t) => {
    const { code, stdout } = await cli(t, ['--help']);
    assert.equal(code, 0);
    for (const { name, summary } of COMMANDS) {
      assert.match(stdout, new RegExp(`^ {2}${name} +`, 'm'));
      assert.ok(stdout.includes(summary));
    }
    const { stdout: ofOne } = await cli(t, ['keygen', '--help']);
    assert.equal(ofOne, `${commandHelp(commandOf('keygen'), plain)}\n`);
  });

  it('of a command shows its options and an example', () => {
    for (const command of COMMANDS) {
      const { name, options, examples } = command;
      const help = commandHelp(command, plain);
      assert.ok(examples.length > 0);
      for (const example of examples) {
        assert.ok(help.includes(`baileys-vault ${example}`), example);
        assert.ok(example.startsWith(name));
      }
      for (const option of Object.keys(options)) {
        assert.ok(help.includes(`--${option}`), option);
      }
    }
  });

  it('says which version this is', async (t) => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.equal((await cli(t, ['--version'])).stdout, `${version}\n`);
  });

  it('is shown to whoever gives no command, as an error', async (t) => {
    const { code, stdout, stderr } = await cli(t, []);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /^Usage: baileys-vault <command>/);
  });
});

describe('a wrong command line', () => {
  const WRONG: [words: string[], message: RegExp, hint?: RegExp][] = [
    [['keygen', '--ouf', 'x'], /--ouf is not an option of keygen/, /Did you mean --out\?/],
    [['keygen', '--out'], /--out needs a value: --out <file>/],
    [['keygen', '--out', '--json'], /--out needs a value/],
    [['keygen', '-o', 'x', '--out', 'y'], /--out is given twice/],
    [['keygen', 'more'], /keygen takes no argument, got "more" too/],
    [['keygen', '--help=x'], /--help takes no value/],
    [['completion'], /completion needs <shell>/],
    [['completion', 'fish'], /expected bash or zsh, got "fish"/],
  ];

  it('is refused before anything happens, with what was probably meant', () => {
    for (const [[name, ...words], message, hint] of WRONG) {
      assert.throws(
        () => parse(commandOf(name as string), words),
        (error) =>
          error instanceof CliError &&
          error.code === 'USAGE' &&
          message.test(error.message) &&
          (hint ?? /^/).test(error.hint ?? ''),
        `${name} ${words.join(' ')}`,
      );
    }
  });

  it('is one JSON document on stderr for programs', async (t) => {
    const { message, hint } = await refused(t, 2, 'USAGE', ['keygen', '--ouf', 'x']);
    assert.deepEqual([message, hint], ['--ouf is not an option of keygen', 'Did you mean --out?']);
    await refused(t, 2, 'USAGE', ['frobnicate']);
  });

  it('is said to people in two lines', async (t) => {
    const { stderr } = await cli(t, ['kegen']);
    assert.equal(stderr, 'error: there is no command "kegen" (USAGE)\nDid you mean keygen?\n');
  });

  it('takes the nearest name only if it is near', () => {
    assert.equal(nearest('stroe', ['store', 'json']), 'store');
    assert.equal(nearest('xyz', ['store', 'json']), undefined);
  });
});

describe('colour', { skip: !has('script') && 'no script(1) on PATH' }, () => {
  const COLOUR = '\u001b[';
  const command = `${process.execPath} ${MAIN} --help`;

  it('is for a terminal only', async (t) => {
    assert.ok(onTerminal(command).includes(COLOUR));
    assert.ok(!(await cli(t, ['--help'])).stdout.includes(COLOUR));
  });

  it('is switched off by NO_COLOR', () => {
    assert.ok(!onTerminal(command, { NO_COLOR: '1' }).includes(COLOUR));
    assert.ok(!onTerminal(command, { TERM: 'dumb' }).includes(COLOUR));
  });
});

describe('keygen', () => {
  it('prints a new key each time', async (t) => {
    const [one, other] = [await cli(t, ['keygen']), await cli(t, ['keygen'])];
    assert.match(one.stdout, /^[0-9a-f]{64}\n$/);
    assert.notEqual(one.stdout, other.stdout);
    const { masterKey } = await json(t, ['keygen']);
    assert.match(String(masterKey), /^[0-9a-f]{64}$/);
  });

  it('writes a file that only its owner reads, and never over another', async (t) => {
    const folder = await makeFolder(t);
    const file = join(folder, 'master.key');
    const { stdout } = await cli(t, ['keygen', '--out', 'master.key'], { cwd: folder });
    const key = readFileSync(file, 'utf8');
    assert.match(key, /^[0-9a-f]{64}\n$/);
    assert.ok(stdout.includes(file) && !stdout.includes(key.trim()));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    await refused(t, 2, 'CONFIG_INVALID', ['keygen', '--out', file]);
    assert.equal(readFileSync(file, 'utf8'), key);
  });
});

describe('completion', () => {
  /** What bash offers after these words. */
  async function offered(
    t: Parameters<typeof makeFolder>[0],
    words: readonly string[],
    cwd?: string,
  ): Promise<string[]> {
    const script = join(await makeFolder(t), 'completion.bash');
    writeFileSync(script, (await cli(t, ['completion', 'bash'])).stdout);
    const line = words.map((word) => `'${word}'`).join(' ');
    const { stdout, stderr } = spawnSync(
      'bash',
      [
        '-c',
        `source ${script}; COMP_WORDS=(baileys-vault ${line}); COMP_CWORD=${words.length}; _baileys_vault; printf '%s\\n' "\${COMPREPLY[@]}"`,
      ],
      { encoding: 'utf8', ...(cwd !== undefined && { cwd }) },
    );
    assert.equal(stderr, '');
    return stdout.split('\n').filter(Boolean);
  }

  it('offers commands, options and their values in bash', { skip: !has('bash') && 'no bash' }, async (t) => {
    assert.deepEqual(
      (await offered(t, [''])).filter((word) => !word.startsWith('-')),
      COMMANDS.map(({ name }) => name),
    );
    assert.deepEqual(await offered(t, ['comp']), ['completion']);
    assert.deepEqual(await offered(t, ['completion', 'z']), ['zsh']);
    assert.deepEqual(await offered(t, ['keygen', '--o']), ['--out']);
    const folder = await makeFolder(t);
    writeFileSync(join(folder, 'master.key'), '');
    assert.deepEqual(await offered(t, ['keygen', '--out', 'mas'], folder), ['master.key']);
    assert.deepEqual(await offered(t, ['keygen', '-o', 'mas'], folder), ['master.key']);
  });

  it('is a script that zsh can read', { skip: !has('zsh') && 'no zsh on PATH' }, async (t) => {
    const script = join(await makeFolder(t), '_baileys-vault');
    writeFileSync(script, (await cli(t, ['completion', 'zsh'])).stdout);
    const { status, stderr } = spawnSync(
      'zsh',
      ['-fc', `autoload -Uz compinit; compinit -D; source ${script}; whence -w _baileys_vault`],
      { encoding: 'utf8' },
    );
    assert.equal(status, 0, stderr);
    assert.equal(stderr, '');
  });

  it('of zsh knows every command and option', async (t) => {
    const { stdout } = await cli(t, ['completion', 'zsh']);
    assert.match(stdout, /^#compdef baileys-vault\n/);
    for (const { name, options } of COMMANDS) {
      assert.ok(stdout.includes(`'${name}:`), name);
      for (const option of Object.keys(options)) {
        assert.ok(stdout.includes(`--${option}`), option);
      }
    }
  });
});

describe('exit codes', () => {
  const [, table = ''] = /## Output and exit codes\n([\s\S]*?)\n## /.exec(GUIDE) ?? [];
  const rows = [...table.matchAll(/^\| (\d+) \| [^|]+ \| ([^|]*) ?\|$/gm)].map(([, number, codes]) => ({
    number: Number(number),
    codes: [...(codes as string).matchAll(/`(\w+)`/g)].map(([, code]) => code as string),
  }));

  it('are those of the guide, and no others', () => {
    assert.deepEqual(
      rows.map(({ number }) => number),
      Object.values(EXIT),
    );
    for (const { number, codes } of rows) {
      for (const code of codes) {
        assert.equal(exitCodeOf(new CliError(code, '')), number, code);
      }
    }
  });

  it('have every code of the stores, unless no command can meet it', () => {
    const [, errors = ''] = readFileSync(join(ROOT, 'docs/guides/options.md'), 'utf8').split('\n## Errors\n');
    const known = new Set(rows.flatMap(({ codes }) => codes));
    const codes = new Set(
      [...errors.matchAll(/`([A-Z]+_[A-Z]+|FENCED|TIMEOUT|INTERNAL)`/g)].map(([, code]) => code),
    );
    assert.ok(codes.size > 10);
    assert.deepEqual(
      [...codes].filter((code) => !known.has(code as string)),
      ['SESSION_DELETED'],
    );
  });
});

describe('numbers, times and tables', () => {
  it('are short', () => {
    assert.deepEqual([0, 1023, 1024, 10_240, 5_000_000].map(bytes), [
      '0 B',
      '1023 B',
      '1.0 KiB',
      '10 KiB',
      '4.8 MiB',
    ]);
    assert.deepEqual([0, 59, 61, 3_600, 90_061, 172_800].map(duration), [
      '0 s',
      '59 s',
      '1 min 1 s',
      '1 h',
      '1 d 1 h',
      '2 d',
    ]);
  });

  it('stand in columns, whatever is coloured', () => {
    const rows = [
      ['a', '1'],
      ['\u001b[31mlong\u001b[39m', '23'],
    ];
    const text = table(rows, [
      { title: 'NAME', of: ([name]) => name as string },
      { title: 'N', of: ([, count]) => count as string, right: true },
    ]);
    assert.equal(text, 'NAME   N\na      1\n\u001b[31mlong\u001b[39m  23');
  });

  it('say of long work how much is done, how fast, and what is left', () => {
    assert.equal(render(plain, 'copying', 0, 8, 0), `copying ${'░'.repeat(24)}   0% 0/8`);
    assert.equal(
      render(plain, 'copying', 100, 400, 10),
      `copying ${'█'.repeat(6)}${'░'.repeat(18)}  25% 100/400 10/s, 30 s left`,
    );
  });
});
