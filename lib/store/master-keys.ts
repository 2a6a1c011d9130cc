import { spawn } from 'node:child_process';
import { ConfigError } from '../errors.js';
import { isEmpty } from '../options/check.js';
import {
  type KeySource,
  parseMasterKey,
  parseMasterKeys,
  parsePrintedKey,
  parsePrintedKeys,
} from '../options/master-keys.js';
import type { StoreSettings } from '../options/shared.js';

/** Keys that are asked for when a store connects: from a program that prints them, or a function of the program's. */

/** Shorter than this, a program has hardly started: `openTimeout` may be 0. */
const SHORTEST_LIMIT = 1000;
/** Bytes; more is no key. */
const MOST_PRINTED = 64 * 1024;

export interface Keys {
  masterKey: Buffer | null;
  previousMasterKeys: Buffer[];
}

/**
 * The keys that a store opens with.
 *
 * @throws ConfigError when they cannot be had: a store whose keys are missing is never opened without
 */
export async function keysOf({ security, openTimeout }: StoreSettings): Promise<Keys> {
  const { masterKeySource, previousMasterKeysSource } = security;
  const [masterKey, previousMasterKeys] = await Promise.all([
    masterKeySource === null ? security.masterKey : masterKeyFrom(masterKeySource, openTimeout),
    previousMasterKeysSource === null
      ? security.previousMasterKeys
      : previousMasterKeysFrom(previousMasterKeysSource, openTimeout),
  ]);
  return { masterKey, previousMasterKeys };
}

/** @param limit milliseconds */
export async function masterKeyFrom(source: KeySource, limit: number): Promise<Buffer> {
  if ('ask' in source) {
    return parseMasterKey(source.field, await ask(source.field, source.ask, limit));
  }
  const printed = await run(source.field, source.command, limit);
  try {
    return parsePrintedKey(source.field, printed);
  } finally {
    printed.fill(0);
  }
}

/** @param limit milliseconds */
export async function previousMasterKeysFrom(source: KeySource, limit: number): Promise<Buffer[]> {
  return 'ask' in source
    ? parseMasterKeys(source.field, await ask(source.field, source.ask, limit))
    : parsePrintedKeys(source.field, (await run(source.field, source.command, limit)).toString('latin1'));
}

async function ask(field: string, question: () => unknown, limit: number): Promise<unknown> {
  const over = deadline(limit);
  let answer: unknown;
  try {
    answer = await Promise.race([Promise.resolve().then(question), over.reached]);
  } catch (cause) {
    throw new ConfigError(field, 'the function failed; its error is the cause', { cause });
  } finally {
    over.stop();
  }
  if (answer === OVER) {
    throw new ConfigError(field, `the function did not answer within ${over.limit} ms`);
  }
  if (isEmpty(answer)) {
    throw new ConfigError(field, 'the function answered with nothing');
  }
  return answer;
}

/** What a program prints. No error repeats any of it, nor the arguments: they may be a secret. */
async function run(
  field: string,
  [program, ...args]: readonly [string, ...string[]],
  limit: number,
): Promise<Buffer> {
  const over = deadline(limit);
  // What it has to complain of is for whoever runs this, and is not taken in.
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], windowsHide: true });
  const ended = new Promise<Buffer>((resolve, reject) => {
    const parts: Buffer[] = [];
    let length = 0;
    child.stdout.on('data', (part: Buffer) => {
      length += part.length;
      if (length <= MOST_PRINTED) {
        parts.push(part);
      }
    });
    child.on('error', ({ code }: NodeJS.ErrnoException) => {
      reject(new ConfigError(field, `${program} cannot be run (${code})`));
    });
    child.on('close', (code, signal) => {
      const printed = Buffer.concat(parts);
      for (const part of parts) {
        part.fill(0);
      }
      if (code !== 0) {
        const how = code === null ? `was ended by ${signal}` : `ended with exit code ${code}`;
        reject(new ConfigError(field, `${program} ${how}`));
      } else if (length > MOST_PRINTED) {
        reject(new ConfigError(field, `${program} printed more than a key`, { got: `${length} bytes` }));
      } else if (printed.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d))) {
        reject(new ConfigError(field, `${program} printed nothing`));
      } else {
        resolve(printed);
      }
    });
  });
  try {
    const printed = await Promise.race([ended, over.reached]);
    if (printed === OVER) {
      throw new ConfigError(field, `${program} did not end within ${over.limit} ms`);
    }
    return printed as Buffer;
  } finally {
    over.stop();
    // Whatever it has started itself may hold the pipe for longer.
    child.kill('SIGKILL');
    child.stdout.destroy();
    ended.catch(() => {});
  }
}

const OVER = Symbol('over');

function deadline(milliseconds: number): {
  limit: number;
  reached: Promise<typeof OVER>;
  stop: () => void;
} {
  const limit = Math.max(milliseconds, SHORTEST_LIMIT);
  let timer: NodeJS.Timeout | undefined;
  const reached = new Promise<typeof OVER>((resolve) => {
    timer = setTimeout(() => resolve(OVER), limit);
  });
  return { limit, reached, stop: () => clearTimeout(timer) };
}
