import type { SessionSeals } from '../../store/types.js';
import { defineCommand, type Result } from '../command.js';
import {
  DEFAULT_JOBS,
  eachSession,
  exitCodeOfAll,
  leftLine,
  type NotDone,
  notDoneLines,
  type Outcome,
} from '../each-session.js';
import { noSession, noSuchSession, usage } from '../errors.js';
import { refuseHeld } from '../holders.js';
import { readKeys } from '../keys.js';
import { addressOf, openSessions, STORE_KEYS, STORE_OPTIONS, using, vaultOf } from '../stores/open.js';
import type { VaultSessions } from '../stores/vault.js';
import { plural } from '../text.js';

export const rotateKey = defineCommand({
  name: 'rotate-key',
  summary: 'Seals sessions anew with the master key, where an older one sealed them',
  description:
    'The master key is the new one, the previous keys are those that records may be sealed with now. A session that a ' +
    'bot holds is not touched: that bot seals it anew itself, with store.rotateKey(), and what it has left to do is ' +
    'said. Records that are sealed with the new key already are left as they are, so that after an interruption the ' +
    'same command goes on. When nothing is left, the older keys are not needed any more.',
  args: [{ name: 'session', about: 'names of sessions; default: all', many: true }],
  options: {
    ...STORE_OPTIONS,
    'dry-run': {
      kind: 'flag',
      short: 'n',
      about: 'only count what is left, beside running bots; the master key will do',
    },
    jobs: {
      kind: 'count',
      short: 'j',
      value: '<number>',
      about: `sessions at a time; default ${DEFAULT_JOBS}`,
    },
  },
  examples: [
    'rotate-key --store ./auth_info --master-key-file new.key --previous-keys-file old.keys',
    'rotate-key --store env:REDIS_URL --master-key-file new.key --dry-run',
  ],
  async run({ args, options, env, output, signal }) {
    const address = addressOf('--store', options.store, 'BAILEYS_VAULT_STORE', env);
    const keys = await readKeys(STORE_KEYS(options), env);
    const { timeout, jobs, 'dry-run': dryRun } = options;
    if (keys.masterKey === undefined || (!dryRun && (keys.previousMasterKeys ?? []).length === 0)) {
      throw usage(
        'rotate-key needs the new master key and the older ones',
        'Set BAILEYS_VAULT_MASTER_KEY and BAILEYS_VAULT_PREVIOUS_MASTER_KEYS, or give both as files.',
      );
    }
    return await using(await openSessions({ address, keys, timeout, output }), async (store) => {
      const sessions = args.length > 0 ? args : await store.list();
      const vault = vaultOf(store, 'rotate-key');
      if (sessions.length === 0) {
        throw noSession(store);
      }
      const found = new Map<string, SessionSeals>();
      const counting = { sessions, jobs, doing: 'counting', output, signal };
      const counted = await eachSession(counting, async (sessionId) => {
        if (!(await store.exists(sessionId))) {
          throw noSuchSession(sessionId, store.shown);
        }
        found.set(sessionId, await vault.vault.seals(sessionId));
      });
      if (dryRun || signal.aborted) {
        return whatIsLeft(store.shown, found, counted, sessions.length);
      }
      const stale = [...found].filter(([, { stale }]) => stale > 0).map(([sessionId]) => sessionId);
      const left = sum(found, ({ stale }) => stale);
      const progress = output.progress('sealing anew', left);
      let resealed = 0;
      const sealing = { sessions: stale, jobs, doing: 'sealing anew', progress, output, signal };
      const sealed = await eachSession(sealing, async (sessionId) => {
        const records = found.get(sessionId)?.stale ?? 0;
        await refuseHeld(vault, sessionId, toBeDoneThere(records));
        const count = await rotate(vault, sessionId, signal, progress.step);
        resealed += count;
      });
      const notDone = [...counted.notDone, ...sealed.notDone].sort(byName);
      const outcome = { notDone, left: counted.left + sealed.left };
      const done = sessions.length - outcome.left - notDone.length;
      const records = sum(found, ({ records }) => records);
      return {
        data: { store: store.shown, sessions: sessions.length, resealed, records, ...outcome },
        text: (style) =>
          [
            ...notDoneLines('not sealed anew', notDone, style),
            [
              `${plural(resealed, 'record')} of ${records} sealed anew in ${plural(done, 'session')}`,
              ...(notDone.length > 0 ? [style('red', `${plural(notDone.length, 'session')} not`)] : []),
              ...leftLine(outcome),
            ].join(', '),
          ].join('\n'),
        exitCode: exitCodeOfAll(outcome, sessions.length),
      };
    });
  },
});

const byName = (a: NotDone, b: NotDone): number => (a.sessionId < b.sessionId ? -1 : 1);

const sum = (found: ReadonlyMap<string, SessionSeals>, of: (seals: SessionSeals) => number): number =>
  [...found.values()].reduce((total, seals) => total + of(seals), 0);

/** Nobody but a session's owner can write it: whatever sealed records beside it would be fenced off, or fence it off. */
const toBeDoneThere = (records: number): string =>
  `, which has ${plural(records, 'record')} to seal anew: give it both keys and let it call store.rotateKey(), or stop it`;

async function rotate(
  vault: VaultSessions,
  sessionId: string,
  signal: AbortSignal,
  step: (by: number) => void,
): Promise<number> {
  let before = 0;
  const onProgress = ({ resealed }: { resealed: number }): void => {
    step(resealed - before);
    before = resealed;
  };
  const { resealed } = await vault.rotate(sessionId, { onProgress, signal });
  return resealed;
}

/** What is sealed with which key, and what not with this one. */
function whatIsLeft(
  shown: string,
  found: ReadonlyMap<string, SessionSeals>,
  outcome: Outcome,
  asked: number,
): Result {
  const records = sum(found, ({ records }) => records);
  const stale = sum(found, ({ stale }) => stale);
  const keys = new Map<string, number>();
  for (const [key, count] of [...found.values()].flatMap((seals) => Object.entries(seals.keys))) {
    keys.set(key, (keys.get(key) ?? 0) + count);
  }
  const sessions = [...found].filter(([, seals]) => seals.stale > 0).map(([sessionId]) => sessionId);
  return {
    data: {
      ...{ store: shown, dryRun: true, sessions: asked, records, stale },
      ...{ keys: Object.fromEntries(keys), staleSessions: sessions, ...outcome },
    },
    text: (style) =>
      [
        ...notDoneLines('not counted', outcome.notDone, style),
        ...[...keys]
          .sort()
          .map(([key, count]) => `${style('dim', 'key')} ${key}  ${plural(count, 'record')}`),
        stale === 0
          ? `nothing is left: ${plural(records, 'record')} in ${plural(found.size, 'session')} are sealed with the master key`
          : `${plural(stale, 'record')} of ${records} in ${plural(sessions.length, 'session')} would be sealed anew`,
        ...leftLine(outcome),
      ].join('\n'),
    exitCode: exitCodeOfAll(outcome, asked),
  };
}
