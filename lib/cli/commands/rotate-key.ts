import { defineCommand } from '../command.js';
import { DEFAULT_JOBS, eachSession, exitCodeOfAll, leftLine, notDoneLines } from '../each-session.js';
import { noSession, noSuchSession, usage } from '../errors.js';
import { readKeys } from '../keys.js';
import { addressOf, openSessions, STORE_KEYS, STORE_OPTIONS, using, vaultOf } from '../stores/open.js';
import { plural } from '../text.js';

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
    const { timeout, jobs } = options;
    return await using(await openSessions({ address, keys, timeout, output }), async (store) => {
      const { vault } = vaultOf(store, 'rotate-key');
      const sessions = args.length > 0 ? args : await store.list();
      if (sessions.length === 0) {
        throw noSession(store.shown);
      }
      let [resealed, total] = [0, 0];
      const work = { sessions, jobs, doing: 'sealing anew', output, signal };
      const outcome = await eachSession(work, async (sessionId) => {
        if (!(await store.exists(sessionId))) {
          throw noSuchSession(sessionId, store.shown);
        }
        const rotated = await vault.rotateKey(sessionId);
        resealed += rotated.resealed;
        total += rotated.total;
      });
      const { notDone, left } = outcome;
      const done = sessions.length - left - notDone.length;
      return {
        data: { store: store.shown, sessions: sessions.length, resealed, records: total, left, notDone },
        text: (style) =>
          [
            ...notDoneLines('not sealed anew', notDone, style),
            [
              `${plural(resealed, 'record')} of ${total} sealed anew in ${plural(done, 'session')}`,
              ...(notDone.length > 0 ? [style('red', `${plural(notDone.length, 'session')} not`)] : []),
              ...leftLine(outcome),
            ].join(', '),
          ].join('\n'),
        exitCode: exitCodeOfAll(outcome, sessions.length),
      };
    });
  },
});
