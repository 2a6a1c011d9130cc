import type { Command, OptionSpec } from './command.js';
import { EVERYWHERE, shapeOf } from './parse.js';
import { LIBRARIES } from './stores/foreign/address.js';
import type { Style } from './style.js';

const WIDTH = 100;
/** Of addresses and variables in the help of the program. */
const STORE_WIDTH = 37;

/** The help of the program. */
export function programHelp(commands: readonly Command[], style: Style): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    `${style('bold', 'Usage:')} baileys-vault <command> [options]`,
    '',
    'Looks after the sessions of Baileys bots, wherever they are stored.',
    '',
    style('bold', 'Commands:'),
    ...commands.map(({ name, summary }) => `  ${style('cyan', name.padEnd(width))}  ${summary}`),
    '',
    style('bold', 'A store is'),
    '  ./auth_info                            a folder of Baileys Vault (embedded)',
    '  redis://host:6379, rediss://…          Redis or Valkey; redis+sentinel://, redis+cluster://',
    '  mongodb://host:27017, mongodb+srv://…  MongoDB',
    '  postgres://host:5432/db                PostgreSQL',
    '  hybrid:redis://…+mongodb://…           Redis in front of MongoDB; or of PostgreSQL, by +postgres://…',
    "  multi-file:./dir                       a folder of Baileys' own useMultiFileAuthState, or a tree of them",
    '  env:NAME                               the one that the variable NAME names',
    '',
    style('bold', "Another library's store, to read and to import from, is"),
    ...LIBRARIES.map(({ example, about }) => `  ${example.padEnd(STORE_WIDTH)}  ${about}`),
    '',
    style('bold', 'Environment:'),
    '  BAILEYS_VAULT_STORE                    the store, where --store does not say; it may hold a password',
    '  BAILEYS_VAULT_MASTER_KEY               the master key: 64 hex characters',
    '  BAILEYS_VAULT_PREVIOUS_MASTER_KEYS     older keys that records may be sealed with, separated by commas',
    '',
    `baileys-vault <command> --help says more, with an example. Exit codes and everything else: docs/guides/cli.md`,
  ].join('\n');
}

/** The help of one command. */
export function commandHelp(command: Command, style: Style): string {
  const { name, summary, description, args, examples } = command;
  const options = Object.entries({ ...command.options, ...EVERYWHERE } as Record<string, OptionSpec>);
  const usage = ['baileys-vault', name, ...args.map(shapeOf), '[options]'].join(' ');
  const lines = [`${style('bold', 'Usage:')} ${usage}`, '', `${summary}.`];
  if (description !== undefined) {
    lines.push('', ...description.split('\n').flatMap((paragraph) => wrap(paragraph, 0)));
  }
  const rows = [
    ...args.map((arg): Row => ({ group: 'Arguments:', left: arg.name, about: arg.about })),
    ...options.map(
      ([name, spec]): Row => ({ group: 'Options:', left: optionShape(name, spec), about: spec.about }),
    ),
  ];
  const width = Math.max(...rows.map(({ left }) => left.length)) + 4;
  for (const [at, { group, left, about }] of rows.entries()) {
    if (rows[at - 1]?.group !== group) {
      lines.push('', style('bold', group));
    }
    const [first = '', ...rest] = wrap(about, width);
    lines.push(`  ${style('cyan', left.padEnd(width - 4))}  ${first.trimStart()}`, ...rest);
  }
  lines.push('', style('bold', examples.length === 1 ? 'Example:' : 'Examples:'));
  lines.push(...examples.map((example) => `  baileys-vault ${example}`));
  return lines.join('\n');
}

interface Row {
  group: string;
  left: string;
  about: string;
}

const optionShape = (name: string, { kind, short, value = '<value>', choices }: OptionSpec): string => {
  const takes = kind === 'flag' ? '' : ` ${choices === undefined ? value : `<${choices.join('|')}>`}`;
  return `${short === undefined ? '    ' : `-${short}, `}--${name}${takes}`;
};

/** Breaks a text into lines that begin at a column. */
function wrap(text: string, column: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && column + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((part) => ' '.repeat(column) + part);
}
