import { join } from 'node:path';
import { readManifest } from '../program.js';
import type { Command, OptionSpecs, Values } from './command.js';
import { COMMANDS } from './commands/index.js';
import { EXIT, exitCodeOf, interrupted, usage } from './errors.js';
import { commandHelp, programHelp } from './help.js';
import { Output } from './output.js';
import { nearest, parse } from './parse.js';
import { reportError } from './report.js';

/** Runs a command line, without the program's name; resolves to the exit code and never rejects. */
export async function run(words: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  const output = new Output(words.includes('--json'));
  try {
    return await dispatch(words, env, output);
  } catch (error) {
    reportError(error, output);
    return exitCodeOf(error);
  }
}

async function dispatch(words: readonly string[], env: NodeJS.ProcessEnv, output: Output): Promise<number> {
  const [name, ...rest] = words;
  switch (name) {
    case undefined:
      output.note(programHelp(COMMANDS, output.err));
      return EXIT.usage;
    case '--version':
    case '-V':
      output.print(String(readManifest(join(__dirname, '../..'))?.version));
      return EXIT.ok;
    case 'help':
    case '--help':
    case '-h': {
      const about = rest[0];
      output.print(
        about === undefined ? programHelp(COMMANDS, output.out) : commandHelp(find(about), output.out),
      );
      return EXIT.ok;
    }
    default:
      return await runCommand(find(name), rest, env, output);
  }
}

function find(name: string): Command {
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const names = COMMANDS.map((candidate) => candidate.name);
    const near = nearest(name, names);
    throw usage(
      name.startsWith('-')
        ? `expected a command before ${name}`
        : `there is no command ${JSON.stringify(name)}`,
      near === undefined ? `There are: ${names.join(', ')}` : `Did you mean ${near}?`,
    );
  }
  return command;
}

async function runCommand(
  command: Command,
  words: readonly string[],
  env: NodeJS.ProcessEnv,
  output: Output,
): Promise<number> {
  const { args, options } = parse(command, words);
  if (options.help === true) {
    output.print(commandHelp(command, output.out));
    return EXIT.ok;
  }
  const ending = new AbortController();
  const onInterrupt = (): void => {
    if (ending.signal.aborted) {
      process.exit(EXIT.interrupted);
    }
    ending.abort(interrupted());
    output.note('ending what is under way; press Ctrl-C again to end at once');
  };
  process.on('SIGINT', onInterrupt);
  try {
    const values = options as Values<OptionSpecs>;
    const result = await command.run({ args, options: values, env, output, signal: ending.signal });
    output.print(output.json ? JSON.stringify(result.data) : result.text(output.out));
    return ending.signal.aborted ? EXIT.interrupted : (result.exitCode ?? EXIT.ok);
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}
