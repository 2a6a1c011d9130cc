import { ConfigError, CorruptRecordError } from '../../errors.js';
import { defineCommand } from '../command.js';
import { CATALOGUE, type Finding, type Severity, severityOf } from '../doctor/catalogue.js';
import { Examination, findingOfWarning } from '../doctor/examine.js';
import { examineServers } from '../doctor/servers/index.js';
import { examineNeighbours } from '../doctor/servers/neighbours.js';
import { eachSession, type NotDone, notDoneLines } from '../each-session.js';
import { EXIT } from '../errors.js';
import { readKeys } from '../keys.js';
import { parseAddress } from '../stores/address.js';
import {
  addressOf,
  DEFAULT_TIMEOUT_S,
  openSessions,
  STORE_KEYS,
  STORE_OPTIONS,
  using,
} from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import { VaultSessions } from '../stores/vault.js';
import type { Style } from '../style.js';
import { plural } from '../text.js';

const COLOURS = { error: 'red', warning: 'yellow', info: 'dim' } as const;
const RANKS: Readonly<Record<Severity, number>> = { error: 0, warning: 1, info: 2 };

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'Explains what is wrong with sessions and with the store, and what to do about it',
  description:
    'Reads beside running bots and disturbs none. Each finding has a stable code; docs/doctor.md has them all. Changes ' +
    'nothing, unless --fix is given, and then only what is certainly safe.',
  args: [{ name: 'session', about: 'names of sessions; default: all', many: true }],
  options: {
    ...STORE_OPTIONS,
    beside: {
      kind: 'text',
      value: '<store>',
      path: true,
      about: 'another store: look whether it holds an identity of this one too',
    },
    fix: { kind: 'flag', about: 'put right what can be put right safely' },
  },
  examples: [
    'doctor --store multi-file:./auth_info_baileys',
    'doctor bot-1 -s env:REDIS_URL --beside ./auth_info',
  ],
  async run({ args, options, env, output, signal }) {
    const address = addressOf('--store', options.store, 'BAILEYS_VAULT_STORE', env);
    const beside = options.beside === undefined ? undefined : parseAddress('--beside', options.beside, env);
    const keys = await readKeys(STORE_KEYS(options), env);
    const { timeout } = options;
    const timeoutMs = (timeout ?? DEFAULT_TIMEOUT_S) * 1000;
    const findings: Finding[] = [];
    const examination = new Examination(options.fix, keys.masterKey !== undefined);
    const look = async (store: SessionStore, sessions: readonly string[], keep: boolean) =>
      // One at a time: of two copies of an identity it is always the second that is named.
      await eachSession({ sessions, jobs: 1, doing: 'examining', output, signal }, async (sessionId) => {
        const found = await examination.session(store, sessionId);
        findings.push(...found.filter(({ code }) => keep || code === 'IDENTITY_TWICE'));
      });
    const warn = (text: string): void => void findings.push(findingOfWarning(text));
    const outcome = { sessions: 0, notDone: [] as NotDone[] };
    try {
      await using(await openSessions({ address, keys, timeout, output, warn }), async (store) => {
        findings.push(...(await examination.store(store)));
        const isVault = store instanceof VaultSessions && 'options' in address;
        if (isVault) {
          findings.push(...(await asFarAsAllowed(() => examineServers(address, timeoutMs))));
        }
        const sessions = args.length > 0 ? args : await store.list();
        const { notDone, left } = await look(store, sessions, true);
        outcome.notDone.push(...notDone);
        outcome.sessions = sessions.length - left - notDone.length;
        if (isVault && args.length === 0) {
          const settings = { keys, timeout: timeoutMs, warn: () => {} };
          const copies = async (other: SessionStore, names: readonly string[]) =>
            // One that cannot be read is no copy that a bot could run on.
            void (await look(other, names, false));
          findings.push(...(await asFarAsAllowed(() => examineNeighbours(address, settings, copies))));
        }
      });
    } catch (error) {
      // So damaged that it does not even open, or list its sessions.
      if (!(error instanceof CorruptRecordError)) {
        throw error;
      }
      if (!findings.some(({ code }) => code === 'STORE_DAMAGED')) {
        findings.push({ code: 'STORE_DAMAGED', sessionId: null, what: error.message });
      }
    }
    if (beside !== undefined) {
      const other = await openSessions({ address: beside, keys, timeout, output, warn: () => {} });
      const { notDone } = await using(other, async (store) => await look(store, await store.list(), false));
      outcome.notDone.push(...notDone);
    }
    findings.sort((a, b) => RANKS[severityOf(a)] - RANKS[severityOf(b)]);
    const errors = findings.filter((finding) => severityOf(finding) === 'error' && !finding.fixed).length;
    return {
      data: {
        store: address.shown,
        sessions: outcome.sessions,
        findings: findings.map((finding) => ({ ...finding, ...CATALOGUE[finding.code] })),
        notDone: outcome.notDone,
      },
      text: (style) =>
        [
          ...findings.map((finding) => render(finding, style)),
          ...notDoneLines('not examined', outcome.notDone, style),
          summary(findings, outcome.sessions, style),
        ].join('\n'),
      exitCode: errors > 0 ? EXIT.damaged : outcome.notDone.length > 0 ? EXIT.partly : EXIT.ok,
    };
  },
});

/** A user of the server who may only what a bot needs cannot see all that is looked at. */
async function asFarAsAllowed(look: () => Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof ConfigError)) {
      throw error;
    }
    return [{ code: 'STORE_WARNING', sessionId: null, what: `not all was looked at: ${error.message}` }];
  }
}

function render(finding: Finding, style: Style): string {
  const { severity, meaning, action } = CATALOGUE[finding.code];
  const about = finding.sessionId === null ? '' : ` ${style('bold', finding.sessionId)}`;
  return [
    `${style(COLOURS[severity], `${severity}:`)} ${finding.code}${about}: ${finding.what}${finding.fixed ? ' (put right)' : ''}`,
    `  ${meaning}`,
    ...(finding.fixed ? [] : [`  ${style('cyan', '→')} ${action}`]),
  ].join('\n');
}

function summary(findings: readonly Finding[], sessions: number, style: Style): string {
  const examined = `${plural(sessions, 'session')} examined`;
  if (findings.length === 0) {
    return `${style('green', 'healthy:')} ${examined}`;
  }
  const counts = (['error', 'warning', 'info'] as const).flatMap((severity) => {
    const count = findings.filter((finding) => severityOf(finding) === severity).length;
    const name = severity === 'info' ? `${count} for information` : plural(count, severity);
    return count > 0 ? [style(COLOURS[severity], name)] : [];
  });
  return `${examined}: ${counts.join(', ')}`;
}
