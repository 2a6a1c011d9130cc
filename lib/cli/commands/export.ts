import { defineCommand } from '../command.js';
import { usage } from '../errors.js';
import { parseAddress } from '../stores/address.js';
import { openSessions, STORE_OPTIONS, withStore } from '../stores/open.js';
import { oneSession } from './show.js';
import { TRANSFER_OPTIONS, transfer } from './transfer.js';

const { 'dry-run': DRY_RUN } = TRANSFER_OPTIONS;

export const exportSession = defineCommand({
  name: 'export',
  summary: "Writes a session as a folder that Baileys' own useMultiFileAuthState opens, or as one JSON file",
  description:
    'The folder or file must not be there yet. It holds the keys of the session readable, for you alone (0700, 0600). ' +
    'It is as old as the export: going back to it after the bot has run breaks its chats. Stop the bot first.',
  args: [{ name: 'session', about: 'name of the session; may be left out if there is one' }],
  options: {
    to: {
      kind: 'text',
      value: '<place>',
      path: true,
      about: 'multi-file:<folder>, or the path of a .json file; required',
    },
    ...STORE_OPTIONS,
    'dry-run': DRY_RUN,
  },
  examples: [
    'export --store ./auth_info --to multi-file:./auth_info_baileys',
    'export bot-1 -s env:REDIS_URL --to bot-1.json',
  ],
  async run({ args, options, env, output, signal }) {
    if (options.to === undefined) {
      throw usage('export needs --to <place>', 'multi-file:<folder>, or the path of a .json file');
    }
    const place = parseAddress('--to', options.to, env);
    if (place.kind !== 'multi-file' && place.kind !== 'json') {
      throw usage(
        `--to: expected multi-file:<folder>, or the path of a .json file, got ${place.shown}`,
        'From store to store there is: baileys-vault copy',
      );
    }
    return await withStore(options, { env, output }, async (from) => {
      const sessionId = await oneSession(from, args[0]);
      const to = await openSessions({ address: place, keys: {}, timeout: undefined, output, single: true });
      return await transfer({
        ...{ from, to, sessions: [sessionId], options, output, signal },
        // A folder that is a session has no other name.
        nameIn: (name) => (place.kind === 'multi-file' ? 'default' : name),
      });
    });
  },
});
