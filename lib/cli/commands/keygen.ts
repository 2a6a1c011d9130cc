import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../../errors.js';
import { defineCommand } from '../command.js';

export const keygen = defineCommand({
  name: 'keygen',
  summary: 'Makes a master key',
  description:
    'Prints 64 hex characters, or writes them to a new file that only you can read. Keep the key where your other ' +
    'secrets are: it cannot be recovered, and without it the sessions are gone.',
  args: [],
  options: {
    out: {
      kind: 'text',
      short: 'o',
      value: '<file>',
      path: true,
      about: 'write the key to this file, which must not exist',
    },
  },
  examples: ['keygen', 'keygen --out master.key'],
  async run({ options }) {
    const key = randomBytes(32).toString('hex');
    const { out } = options;
    if (out === undefined) {
      return { data: { masterKey: key }, text: () => key };
    }
    const file = resolve(out);
    try {
      writeFileSync(file, `${key}\n`, { mode: 0o600, flag: 'wx' });
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const reason =
        code === 'EEXIST' ? 'is there already: a key is never overwritten' : `cannot be written (${code})`;
      throw new ConfigError('--out', `${file} ${reason}`, { cause });
    }
    return { data: { file }, text: () => `A master key is in ${file}. It cannot be recovered: keep a copy.` };
  },
});
