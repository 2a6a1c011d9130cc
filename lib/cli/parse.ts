import { parseArgs } from 'node:util';
import type { ArgumentSpec, Command, OptionSpec, OptionSpecs } from './command.js';
import { usage } from './errors.js';

/** What every command takes. */
export const EVERYWHERE = {
  json: { kind: 'flag', about: 'print one JSON document, for programs' },
  help: { kind: 'flag', short: 'h', about: 'show this help' },
} as const satisfies OptionSpecs;

type Given = Record<string, string | boolean | number | undefined>;

/** A command line, taken apart. */
export interface Parsed {
  args: string[];
  options: Given;
}

/**
 * Takes apart what follows the command's name.
 *
 * @throws CliError naming the option or argument
 */
export function parse(command: Command, words: readonly string[]): Parsed {
  const specs: OptionSpecs = { ...command.options, ...EVERYWHERE };
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries(
      Object.entries(specs).map(([name, { kind, short }]) => [
        name,
        { type: kind === 'flag' ? ('boolean' as const) : ('string' as const), ...(short && { short }) },
      ]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const args: string[] = [];
  const options: Given = Object.fromEntries(
    Object.entries(specs).map(([name, { kind }]) => [name, kind === 'flag' ? false : undefined]),
  );
  for (const token of tokens) {
    if (token.kind === 'positional') {
      args.push(token.value);
    } else if (token.kind === 'option') {
      const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined;
      if (spec === undefined) {
        throw unknown(command, token.rawName, Object.keys(specs));
      }
      options[token.name] = readValue(token.rawName, spec, token.value, options[token.name]);
    }
  }
  if (options.help !== true) {
    checkArguments(command, args);
  }
  return { args, options };
}

function unknown(command: Command, given: string, names: readonly string[]): Error {
  const near = nearest(given.replace(/^-+/, ''), names);
  return usage(
    `${given} is not an option of ${command.name}`,
    near === undefined ? `See: baileys-vault ${command.name} --help` : `Did you mean --${near}?`,
  );
}

function readValue(
  name: string,
  { kind, choices, value: shape = '<value>' }: OptionSpec,
  given: string | undefined,
  before: Given[string],
): Given[string] {
  if (kind === 'flag') {
    if (given !== undefined) {
      throw usage(`${name} takes no value`);
    }
    return true;
  }
  if (before !== undefined) {
    throw usage(`${name} is given twice`);
  }
  if (given === undefined || given === '' || given.startsWith('--')) {
    throw usage(`${name} needs a value: ${name} ${shape}`);
  }
  if (choices !== undefined && !choices.includes(given)) {
    throw usage(`${name}: expected ${choices.join(' or ')}, got ${JSON.stringify(given)}`);
  }
  if (kind === 'text') {
    return given;
  }
  if (!/^\d{1,9}$/.test(given) || Number(given) === 0) {
    throw usage(`${name}: expected a whole number, 1 or more, got ${JSON.stringify(given)}`);
  }
  return Number(given);
}

function checkArguments({ name, args: specs }: Command, args: readonly string[]): void {
  const missing = specs[args.length];
  if (missing?.required) {
    throw usage(`${name} needs ${shapeOf(missing)}`, `See: baileys-vault ${name} --help`);
  }
  const last = specs.at(-1);
  const extra = args[specs.length];
  if (extra !== undefined && !last?.many) {
    throw usage(
      `${name} takes ${specs.length === 0 ? 'no argument' : specs.map(shapeOf).join(' ')}, got ${JSON.stringify(extra)} too`,
      /:\/\/|^[./]/.test(extra) ? 'A store is named by an option: --store <store>' : undefined,
    );
  }
  args.forEach((arg, at) => {
    const { choices } = specs[at] ?? {};
    if (choices !== undefined && !choices.includes(arg)) {
      throw usage(`expected ${choices.join(' or ')}, got ${JSON.stringify(arg)}`);
    }
  });
}

/** How an argument is written in a usage line. */
export const shapeOf = ({ name, required, many }: ArgumentSpec): string => {
  const inner = many ? `${name}...` : name;
  return required ? `<${inner}>` : `[${inner}]`;
};

/** The name that was probably meant: the one with the fewest letters to change, if those are few. */
export function nearest(given: string, names: readonly string[]): string | undefined {
  const ranked = names.map((name) => ({ name, away: distance(given, name) })).sort((a, b) => a.away - b.away);
  const best = ranked[0];
  return best !== undefined && best.away <= (best.name.length < 4 ? 1 : 2) ? best.name : undefined;
}

/** Levenshtein's: letters to insert, delete or replace. */
function distance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (const [at, letter] of [...one].entries()) {
    const next = [at + 1];
    for (const [to, wanted] of [...other].entries()) {
      const replaced = (row[to] as number) + (letter === wanted ? 0 : 1);
      next.push(Math.min(replaced, (row[to + 1] as number) + 1, (next[to] as number) + 1));
    }
    row = next;
  }
  return row[other.length] as number;
}
