import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { ConfigError } from '../errors.js';
import { CREDS_FILE, classify } from './file-names.js';
import { unreadable } from './read-file.js';

/** What is in a folder, by names alone. */
export interface Survey {
  /** Names of the creds' file and its copies. */
  creds: string[];
  /** Files of key records of known types, each with the names that there are of it and its copies. */
  keys: Map<string, string[]>;
  /** Files that hold a record of an unknown type, or something of another program. */
  doubtful: string[];
  /** Neither Baileys' nor ours. */
  others: string[];
}

/** Files and folders of this package's own. */
const OURS = /^(vault\.|(imported|ignored)-\d)/;

/** @throws ConfigError, StorageError when the folder cannot be read */
export async function surveyFolder(folder: string): Promise<Survey> {
  const found: Survey = { creds: [], keys: new Map(), doubtful: [], others: [] };
  for (const entry of await list(folder)) {
    const { name } = entry;
    const named = classify(name);
    if (OURS.test(name)) {
      continue;
    }
    if (named.of === 'others' || (entry.isDirectory() && name !== CREDS_FILE)) {
      found.others.push(name);
    } else if (named.of === 'anybody') {
      found.doubtful.push(name);
    } else if (named.file === CREDS_FILE) {
      found.creds.push(name);
    } else {
      found.keys.set(named.file, [...(found.keys.get(named.file) ?? []), name]);
    }
  }
  return found;
}

/** Names of all files that are certainly Baileys'. */
export function namesOf(survey: Survey): string[] {
  return [...survey.creds, ...[...survey.keys.values()].flat()];
}

async function list(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') {
      return [];
    }
    if (code === 'ENOTDIR') {
      throw new ConfigError('folder', `${folder} is not a directory`, { cause });
    }
    throw unreadable(folder, cause);
  }
}
