import type { Output } from './output.js';
import type { Style } from './style.js';

/** An option of a command: a switch, a text, or a whole number. */
export interface OptionSpec {
  kind: 'flag' | 'text' | 'count';
  about: string;
  short?: string;
  /** What stands for the value in the help: `<file>`. */
  value?: string;
  /** The values that are taken; all others are refused. */
  choices?: readonly string[];
  /** The value is the path of a file: completion offers those. */
  path?: boolean;
}

export interface ArgumentSpec {
  name: string;
  about: string;
  required?: boolean;
  many?: boolean;
  choices?: readonly string[];
  path?: boolean;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type Value<Spec extends OptionSpec> = Spec['kind'] extends 'flag'
  ? boolean
  : Spec['kind'] extends 'count'
    ? number | undefined
    : string | undefined;

/** The options of a command as they were given; a flag that was not is false. */
export type Values<Specs extends OptionSpecs> = { readonly [Name in keyof Specs]: Value<Specs[Name]> };

/** What a command works with. */
export interface Invocation<Specs extends OptionSpecs> {
  args: readonly string[];
  options: Values<Specs>;
  env: NodeJS.ProcessEnv;
  output: Output;
  /** Aborted by Ctrl-C: what is under way ends, nothing new begins. */
  signal: AbortSignal;
}

/** What a command has to say: to machines, and to people. */
export interface Result {
  data: unknown;
  text(style: Style): string;
  /** Default 0. */
  exitCode?: number;
}

/** Everything about a command. Parsing, help and completion are made of it. */
export interface Command<Specs extends OptionSpecs = OptionSpecs> {
  name: string;
  /** One line, without a full stop. */
  summary: string;
  /** Further paragraphs of the help. */
  description?: string;
  args: readonly ArgumentSpec[];
  options: Specs;
  /** Command lines without the program's name. */
  examples: readonly string[];
  run(invocation: Invocation<Specs>): Promise<Result>;
}

/** Types a command's `run` by its options. */
export const defineCommand = <const Specs extends OptionSpecs>(command: Command<Specs>): Command =>
  command as unknown as Command;
