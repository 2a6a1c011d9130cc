import { defineCommand } from '../command.js';
import { noSession, usage } from '../errors.js';
import { FROM_KEY_OPTION, readKeys, sideKeys } from '../keys.js';
import { type Address, parseAddress } from '../stores/address.js';
import { LIBRARIES } from '../stores/foreign/address.js';
import { addressOf, openSessions, STORE_KEYS, STORE_OPTIONS, using } from '../stores/open.js';
import { checkSealed, TRANSFER_OPTIONS, transfer } from './transfer.js';

export const importSessions = defineCommand({
  name: 'import',
  summary:
    "Imports folders of Baileys' own useMultiFileAuthState, stores of other libraries, or what export wrote",
  description:
    'The source is a folder with a creds.json, a folder of such folders, a store of another library, or a JSON file of ' +
    'export. Nothing in it is changed. The session of a folder is called "default", those below it by their paths; --as gives one another name, ' +
    'which is the sessionId that the bot will open. Stop the bot first.',
  args: [
    {
      name: 'source',
      about: 'a folder, a JSON file, or a store of another library; see baileys-vault --help',
      required: true,
      path: true,
    },
  ],
  options: {
    ...STORE_OPTIONS,
    as: { kind: 'text', value: '<name>', about: 'what the session is called in the store, if it is one' },
    ...FROM_KEY_OPTION,
    ...TRANSFER_OPTIONS,
  },
  examples: [
    'import ./auth_info_baileys --store redis://localhost:6379 --as bot-1',
    'import ./sessions --store mongodb://localhost:27017 --dry-run',
    'import baileys-redis-auth:redis://localhost:6379 --store ./vault',
    'import env:OLD_REDIS_URL --store ./vault',
  ],
  async run({ args, options, env, output, signal }) {
    const to = addressOf('--store', options.store, 'BAILEYS_VAULT_STORE', env);
    const keys = await readKeys(STORE_KEYS(options), env);
    checkSealed(to, keys, options.plain, 'BAILEYS_VAULT_MASTER_KEY or --master-key-file');
    const { timeout } = options;
    const source = await openSessions({
      address: sourceOf(args[0] as string, env),
      keys: await readKeys(sideKeys('from', options['from-master-key-file']), env),
      timeout,
      output,
    });
    return await using(source, async () => {
      const sessions = await source.list();
      if (sessions.length === 0) {
        throw noSession(source);
      }
      if (options.as !== undefined && sessions.length > 1) {
        throw usage(
          `--as names one session, and ${source.shown} holds ${sessions.length}`,
          'Import them one by one: baileys-vault copy takes the names of those that are to be copied.',
        );
      }
      const create = options['dry-run'] ? 'dry-run' : 'really';
      const target = await openSessions({ address: to, keys, timeout, output, create });
      return await using(target, () =>
        transfer({
          ...{ from: source, to: target, sessions, options, output, signal },
          nameIn: (sessionId) => options.as ?? sessionId,
        }),
      );
    });
  },
});

const OTHERS = LIBRARIES.map(({ example }) => example).join(', ');

/** A bare path means files here; everything else is copied. */
function sourceOf(source: string, env: NodeJS.ProcessEnv): Address {
  const address = parseAddress('source', source, env);
  if (address.kind === 'embedded') {
    return parseAddress('source', `multi-file:${address.shown}`, env);
  }
  if ('options' in address) {
    throw usage(
      `${address.shown} is a store of Baileys Vault`,
      `From store to store there is: baileys-vault copy. If another library has its sessions there, name that: ${OTHERS}`,
    );
  }
  return address;
}
