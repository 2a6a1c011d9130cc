import { readFileSync } from 'node:fs';
import { ConfigError } from '../errors.js';
import { parseMasterKey } from '../options/security.js';
import type { OptionSpecs } from './command.js';
import { usage } from './errors.js';
import { askSecret } from './prompt.js';

/** Master keys come from the environment, a file or a prompt: whoever lists processes sees a command line. */

const KEY_FILE_BYTES = 32;

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

/** Where the keys of one store come from. */
export interface KeySources {
  /** Names of the options that were given, for errors, and their values. */
  file: readonly [option: string, path: string | undefined];
  ask: readonly [option: string, asked: boolean];
  previous: readonly [option: string, path: string | undefined];
  /** Variables that may hold the master key; the first that is set counts. */
  variables: readonly string[];
  previousVariables: readonly string[];
}

/** The keys of one store. */
export interface Keys {
  masterKey?: Buffer;
  previousMasterKeys?: Buffer[];
}

/** @throws CliError, ConfigError naming the option, file or variable, never what it holds */
export async function readKeys(sources: KeySources, env: NodeJS.ProcessEnv): Promise<Keys> {
  const masterKey = await masterKeyOf(sources, env);
  const previousMasterKeys = previousKeysOf(sources, env);
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
    const content = readKeyFile(fileOption, path);
    return parseMasterKey(
      fileOption,
      content.length === KEY_FILE_BYTES ? content : content.toString('latin1').trim(),
    );
  }
  if (asked) {
    return parseMasterKey(
      askOption,
      await askSecret('Master key', `Use ${fileOption}, or ${sources.variables[0]}.`),
    );
  }
  const variable = variableOf(sources.variables, env);
  return variable === undefined ? undefined : parseMasterKey(variable.name, variable.value.trim());
}

function previousKeysOf(sources: KeySources, env: NodeJS.ProcessEnv): Buffer[] | undefined {
  const [option, path] = sources.previous;
  const variable = path === undefined ? variableOf(sources.previousVariables, env) : undefined;
  const text = path === undefined ? variable?.value : readKeyFile(option, path).toString('latin1');
  const name = variable?.name ?? option;
  return text
    ?.split(/[\s,]+/)
    .filter(Boolean)
    .map((key, at) => parseMasterKey(`${name}[${at}]`, key));
}

/** The first of these variables that is set. One that is set to nothing is a mistake that would change what is read. */
function variableOf(
  names: readonly string[],
  env: NodeJS.ProcessEnv,
): { name: string; value: string } | undefined {
  for (const name of names) {
    const value = env[name];
    if (value === '') {
      throw new ConfigError(name, 'is set but empty: give it a value, or unset it');
    }
    if (value !== undefined) {
      return { name, value };
    }
  }
  return undefined;
}

function readKeyFile(option: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new ConfigError(option, `${path} cannot be read (${code})`, { cause });
  }
}
