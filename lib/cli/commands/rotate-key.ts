import { defineCommand } from '../command.js';
import { CliError, EXIT, exitCodeOf, noSession, noSuchSession, usage } from '../errors.js';
import { readKeys } from '../keys.js';
import { inParallel } from '../pool.js';
import { describe } from '../report.js';
import { addressOf, openSessions, STORE_KEYS, STORE_OPTIONS, using, vaultOf } from '../stores/open.js';
import { plural } from '../text.js';

const DEFAULT_JOBS = 4;

interface Failed {
  sessionId: string;
  code: string;
  message: string;
}

export const rotateKey = defineCommand({
  name: 'rotate-key',
  summary: 'Seals sessions anew with the master key, where an older one sealed them',
  description:
    'The master key is the new one, the previous keys are those that records may be sealed with now. A session that a ' +
    'bot holds is not touched: that bot seals it anew itself, with store.rotateKey(). Records that are sealed with the ' +
    'new key already are left as they are, so that after an interruption the same command goes on.',
  args: [{ name: 'session', about: 'names of sessions; default: all', many: true }],
  options: {
    ...STORE_OPTIONS,
    jobs: {
      kind: 'count',
      short: 'j',
      value: '<number>',
      about: `sessions at a time; default ${DEFAULT_JOBS}`,
    },
  },
  examples: ['rotate-key --store ./auth_info --master-key-file new.key --previous-keys-file old.keys'],
  async run({ args, options, env, output, signal }) {
    const address = addressOf('--store', options.store, 'BAILEYS_VAULT_STORE', env);
    const keys = await readKeys(STORE_KEYS(options), env);
    if (keys.masterKey === undefined || (keys.previousMasterKeys ?? []).length === 0) {
      throw usage(
        'rotate-key needs the new master key and the older ones',
        'Set BAILEYS_VAULT_MASTER_KEY and BAILEYS_VAULT_PREVIOUS_MASTER_KEYS, or give both as files.',
      );
    }
    return await using(
      await openSessions({ address, keys, timeout: options.timeout, output }),
      async (store) => {
        const { vault } = vaultOf(store, 'rotate-key');
        const sessions = args.length > 0 ? args : await store.list();
        if (sessions.length === 0) {
          throw noSession(store.shown);
        }
        let [resealed, total, done] = [0, 0, 0];
        const failed: Failed[] = [];
        const progress = output.progress('sealing anew', sessions.length);
        try {
          await inParallel(sessions, options.jobs ?? DEFAULT_JOBS, signal, async (sessionId) => {
            try {
              if (!(await store.exists(sessionId))) {
                throw noSuchSession(sessionId, store.shown);
              }
              const rotated = await vault.rotateKey(sessionId);
              resealed += rotated.resealed;
              total += rotated.total;
            } catch (error) {
              const { code, message } = describe(error);
              failed.push({ sessionId, code, message });
            }
            done += 1;
            progress.step();
          });
        } finally {
          progress.end();
        }
        const left = sessions.length - done;
        failed.sort((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
        const [first] = failed;
        return {
          data: { store: store.shown, sessions: sessions.length, resealed, records: total, left, failed },
          text: (style) =>
            [
              ...failed.map(
                ({ sessionId, code, message }) =>
                  `${style('red', 'not sealed anew:')} ${JSON.stringify(sessionId)}: ${message} ${style('dim', `(${code})`)}`,
              ),
              [
                `${plural(resealed, 'record')} of ${total} sealed anew in ${plural(done - failed.length, 'session')}`,
                ...(failed.length > 0 ? [style('red', `${plural(failed.length, 'session')} not`)] : []),
                ...(left > 0 ? [`${left} left: the same command goes on there`] : []),
              ].join(', '),
            ].join('\n'),
          exitCode:
            first === undefined
              ? EXIT.ok
              : sessions.length === 1
                ? exitCodeOf(new CliError(first.code, first.message))
                : EXIT.partly,
        };
      },
    );
  },
});
