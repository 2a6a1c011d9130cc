import { checkCreds } from '../../baileys/creds.js';
import { CorruptRecordError } from '../../errors.js';
import { CREDS_TYPE } from '../../store/records.js';
import { defineCommand } from '../command.js';
import { eachSession } from '../each-session.js';
import { EXIT } from '../errors.js';
import { describe } from '../report.js';
import { STORE_OPTIONS, withStore } from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import { plural } from '../text.js';

interface Finding {
  /** Null where it is the store itself. */
  sessionId: string | null;
  code: string;
  message: string;
}

export const verify = defineCommand({
  name: 'verify',
  summary: 'Reads everything that is stored, and names what is damaged',
  description:
    'Every record must open with the keys given and decode, and the creds must be whole. Of a folder of Baileys Vault ' +
    'the database itself is checked too. Changes nothing.',
  args: [],
  options: STORE_OPTIONS,
  examples: ['verify --store ./auth_info', 'verify --store env:MONGO_URL --json'],
  run: ({ options, env, output, signal }) =>
    withStore(options, { env, output }, async (store) => {
      const damaged = await structureOf(store);
      const sessions = await store.list();
      let records = 0;
      const { notDone, left } = await eachSession(
        { sessions, doing: 'verifying', output, signal },
        async (sessionId) => {
          const count = await check(store, sessionId);
          records += count;
        },
      );
      const findings: Finding[] = [...notDone];
      // What a session's own reading has not found is of the store itself.
      if (damaged !== undefined && findings.length === 0) {
        findings.push({ sessionId: null, ...damaged });
      }
      const read = sessions.length - left;
      const sound = findings.length === 0;
      return {
        data: { store: store.shown, sound, sessions: read, records, left, findings },
        text: (style) =>
          [
            ...findings.map(
              ({ sessionId, code, message }) =>
                `${style('red', 'damaged:')} ${sessionId ?? store.shown}: ${message} ${style('dim', `(${code})`)}`,
            ),
            sound
              ? `${style('green', 'sound:')} ${plural(read, 'session')}, ${plural(records, 'record')}`
              : `${plural(findings.length, 'finding')} in ${plural(read, 'session')}`,
          ].join('\n'),
        exitCode: sound ? EXIT.ok : EXIT.damaged,
      };
    }),
});

/** What the store's own look at everything finds: it stops at the first. */
async function structureOf(store: SessionStore): Promise<{ code: string; message: string } | undefined> {
  try {
    await store.verify();
    return undefined;
  } catch (error) {
    const { code, message } = describe(error);
    if (!['CORRUPT_RECORD', 'ENCRYPTION_FAILED', 'COMPRESSION_FAILED'].includes(code)) {
      throw error;
    }
    return { code, message };
  }
}

/** Reads one session; how many records it has. */
async function check(store: SessionStore, sessionId: string): Promise<number> {
  const found = await store.read(sessionId);
  const creds = found?.records.find(({ type }) => type === CREDS_TYPE);
  const wrong = creds && checkCreds(creds.value);
  if (wrong !== undefined) {
    throw new CorruptRecordError(`${wrong.path}: ${wrong.problem}`, CREDS_TYPE);
  }
  return found?.records.length ?? 0;
}
