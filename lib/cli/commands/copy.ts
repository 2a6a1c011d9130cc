import { defineCommand, type OptionSpecs } from '../command.js';
import { noSession, usage } from '../errors.js';
import { FROM_KEY_OPTION, readKeys, sideKeys } from '../keys.js';
import { addressOf, openSessions, TIMEOUT_OPTION, using } from '../stores/open.js';
import { checkSealed, TRANSFER_OPTIONS, transfer } from './transfer.js';

const OPTIONS = {
  from: {
    kind: 'text',
    value: '<store>',
    path: true,
    about: 'the store to copy from; default: BAILEYS_VAULT_FROM',
  },
  to: {
    kind: 'text',
    value: '<store>',
    path: true,
    about: 'the store to copy to; default: BAILEYS_VAULT_TO',
  },
  ...FROM_KEY_OPTION,
  'to-master-key-file': {
    kind: 'text',
    value: '<file>',
    path: true,
    about: 'default: BAILEYS_VAULT_TO_MASTER_KEY, else BAILEYS_VAULT_MASTER_KEY',
  },
  as: { kind: 'text', value: '<name>', about: 'what the session is called in the target, if it is one' },
  ...TRANSFER_OPTIONS,
  ...TIMEOUT_OPTION,
} as const satisfies OptionSpecs;

export const copy = defineCommand({
  name: 'copy',
  summary: 'Copies sessions from one store to another, and compares what was stored',
  description:
    'Copies all sessions, or those that are named. Each is written whole or not at all, read back, and compared by ' +
    'value; a digest for each type closes the report. A session that somebody holds is not copied, nothing in the ' +
    'target is overwritten, and a session that is there already with the same values is skipped: after an interruption, ' +
    'the same command goes on. Stop the bots first, and start them on the target.',
  args: [{ name: 'session', about: 'names of sessions; default: all', many: true }],
  options: OPTIONS,
  examples: [
    'copy --from multi-file:./sessions --to redis://localhost:6379 --dry-run',
    'copy --from ./auth_info --to env:MONGO_URL default --as bot-1',
  ],
  async run({ args, options, env, output, signal }) {
    const from = addressOf('--from', options.from, 'BAILEYS_VAULT_FROM', env);
    const to = addressOf('--to', options.to, 'BAILEYS_VAULT_TO', env);
    if (from.shown === to.shown) {
      throw usage('--from and --to are the same store');
    }
    if (options.as !== undefined && args.length > 1) {
      throw usage('--as names one session, and several are to be copied');
    }
    const fromKeys = await readKeys(sideKeys('from', options['from-master-key-file']), env);
    const toKeys = await readKeys(sideKeys('to', options['to-master-key-file']), env);
    checkSealed(to, toKeys, options.plain, 'BAILEYS_VAULT_TO_MASTER_KEY or BAILEYS_VAULT_MASTER_KEY');
    const { timeout } = options;
    const create = options['dry-run'] ? 'dry-run' : 'really';
    const source = await openSessions({ address: from, keys: fromKeys, timeout, output });
    return await using(source, async () => {
      const sessions = args.length > 0 ? args : await source.list();
      if (sessions.length === 0) {
        throw noSession(source);
      }
      if (options.as !== undefined && sessions.length > 1) {
        throw usage(`--as names one session, and ${source.shown} holds ${sessions.length}: name one`);
      }
      const target = await openSessions({ address: to, keys: toKeys, timeout, output, create });
      return await using(target, () =>
        transfer({
          ...{ from: source, to: target, sessions, options, output, signal },
          nameIn: (sessionId) => options.as ?? sessionId,
        }),
      );
    });
  },
});
