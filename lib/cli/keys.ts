import { readFileSync } from 'node:fs';
import { ConfigError } from '../errors.js';
import {
  type KeySource,
  parseCommand,
  parseMasterKey,
  parsePrintedKey,
  parsePrintedKeys,
} from '../options/master-keys.js';
import { masterKeyFrom, previousMasterKeysFrom } from '../store/master-keys.js';
import type { OptionSpecs } from './command.js';
import { usage } from './errors.js';
import { askSecret } from './prompt.js';

/** Master keys come from the environment, a file, a program or a prompt: whoever lists processes sees a command line. */

/** Milliseconds that a program may take to print keys: it may ask somebody for a passphrase. */
const COMMAND_LIMIT = 60_000;

/** The options that say where keys come from. */
export const KEY_OPTIONS = {
  'master-key-file': {
    kind: 'text',
    value: '<file>',
    path: true,
    about: 'file with the master key; default: BAILEYS_VAULT_MASTER_KEY',
  },
  'ask-master-key': { kind: 'flag', about: 'ask for the master key, without showing it' },
  'previous-keys-file': {
    kind: 'text',
    value: '<file>',
    path: true,
    about: 'file with older keys, one a line; default: BAILEYS_VAULT_PREVIOUS_MASTER_KEYS',
  },
} as const satisfies OptionSpecs;

/** Where the key of the source is, if it has one of its own. */
export const FROM_KEY_OPTION = {
  'from-master-key-file': {
    kind: 'text',
    value: '<file>',
    path: true,
    about: 'default: BAILEYS_VAULT_FROM_MASTER_KEY, else BAILEYS_VAULT_MASTER_KEY',
  },
} as const satisfies OptionSpecs;

/** Where the keys of one store come from. */
export interface KeySources {
  /** Names of the options that were given, for errors, and their values. */
  file: readonly [option: string, path: string | undefined];
  ask: readonly [option: string, asked: boolean];
  previous: readonly [option: string, path: string | undefined];
  /** Variables that may hold the master key, or with `_COMMAND` a program that prints it; the first that is set counts. */
  variables: readonly string[];
  previousVariables: readonly string[];
}

/** The keys of one store. */
export interface Keys {
  masterKey?: Buffer;
  previousMasterKeys?: Buffer[];
}

/**
 * Of two stores each may have keys of its own. Neither has options for older ones: records that they sealed are read all the
 * same.
 */
export const sideKeys = (side: 'from' | 'to', file: string | undefined): KeySources => ({
  file: [`--${side}-master-key-file`, file],
  ask: ['', false],
  previous: ['', undefined],
  variables: [`BAILEYS_VAULT_${side.toUpperCase()}_MASTER_KEY`, 'BAILEYS_VAULT_MASTER_KEY'],
  previousVariables:
    side === 'from' ? ['BAILEYS_VAULT_FROM_PREVIOUS_MASTER_KEYS', 'BAILEYS_VAULT_PREVIOUS_MASTER_KEYS'] : [],
});

/** @throws CliError, ConfigError naming the option, file or variable, never what it holds */
export async function readKeys(sources: KeySources, env: NodeJS.ProcessEnv): Promise<Keys> {
  const masterKey = await masterKeyOf(sources, env);
  const previousMasterKeys = await previousKeysOf(sources, env);
  if (masterKey === undefined && previousMasterKeys !== undefined) {
    throw usage('previous master keys are given, but no master key', `Set ${sources.variables[0]}.`);
  }
  return {
    ...(masterKey !== undefined && { masterKey }),
    ...(previousMasterKeys !== undefined && { previousMasterKeys }),
  };
}

async function masterKeyOf(sources: KeySources, env: NodeJS.ProcessEnv): Promise<Buffer | undefined> {
  const [fileOption, path] = sources.file;
  const [askOption, asked] = sources.ask;
  if (path !== undefined && asked) {
    throw usage(`${fileOption} and ${askOption} cannot be given together`);
  }
  if (path !== undefined) {
    return parsePrintedKey(fileOption, readKeyFile(fileOption, path));
  }
  if (asked) {
    return parseMasterKey(
      askOption,
      await askSecret('Master key', `Use ${fileOption}, or ${sources.variables[0]}.`),
    );
  }
  const found = variableOf(sources.variables, env);
  if (found === undefined || 'value' in found) {
    return found && parseMasterKey(found.name, found.value.trim());
  }
  return await masterKeyFrom(found.source, COMMAND_LIMIT);
}

async function previousKeysOf(sources: KeySources, env: NodeJS.ProcessEnv): Promise<Buffer[] | undefined> {
  const [option, path] = sources.previous;
  if (path !== undefined) {
    return parsePrintedKeys(option, readKeyFile(option, path).toString('latin1'));
  }
  const found = variableOf(sources.previousVariables, env);
  if (found === undefined || 'value' in found) {
    return found && parsePrintedKeys(found.name, found.value);
  }
  return await previousMasterKeysFrom(found.source, COMMAND_LIMIT);
}

type Variable = { name: string; value: string } | { source: KeySource };

/** The first of these variables that is set. One that is set to nothing is a mistake that would change what is read. */
function variableOf(names: readonly string[], env: NodeJS.ProcessEnv): Variable | undefined {
  for (const name of names) {
    const commandName = `${name}_COMMAND`;
    const [value, command] = [name, commandName].map((each) => {
      if (env[each] === '') {
        throw new ConfigError(each, 'is set but empty: give it a value, or unset it');
      }
      return env[each];
    });
    if (value !== undefined && command !== undefined) {
      throw new ConfigError(commandName, `cannot be set beside ${name}: unset one of them`);
    }
    if (value !== undefined) {
      return { name, value };
    }
    if (command !== undefined) {
      return { source: { field: commandName, command: commandOf(commandName, command) } };
    }
  }
  return undefined;
}

/** A program and its arguments, separated by spaces; or a list of them in JSON, if there are spaces in one. */
function commandOf(name: string, text: string): readonly [string, ...string[]] {
  const trimmed = text.trim();
  if (!trimmed.startsWith('[')) {
    return parseCommand(name, trimmed.split(/\s+/));
  }
  let words: unknown;
  try {
    words = JSON.parse(trimmed);
  } catch {
    throw new ConfigError(name, 'expected a program and its arguments, or a list of them in JSON');
  }
  return parseCommand(name, words);
}

function readKeyFile(option: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigError(option, `${path} cannot be read (${code})`, { cause });
  }
}
