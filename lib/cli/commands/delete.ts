import { defineCommand } from '../command.js';
import { noSuchSession } from '../errors.js';
import { refuseHeld } from '../holders.js';
import { confirm } from '../prompt.js';
import { describe } from '../report.js';
import { STORE_OPTIONS, vaultOf, withStore } from '../stores/open.js';
import type { SessionStore } from '../stores/store.js';
import { summaryOf } from '../summary.js';
import { bytes } from '../text.js';

export const deleteSession = defineCommand({
  name: 'delete',
  summary: 'Deletes a session for good',
  description:
    'Asks first, unless --yes is given. The account must then be paired anew with a QR code: delete a session only ' +
    'after a real logout, never because something failed. A session that a bot holds is not deleted.',
  args: [{ name: 'session', about: 'name of the session', required: true }],
  options: {
    ...STORE_OPTIONS,
    yes: { kind: 'flag', short: 'y', about: 'do not ask' },
  },
  examples: ['delete bot-1 --store mongodb://localhost:27017'],
  run: ({ args, options, env, output }) =>
    withStore(options, { env, output }, async (store) => {
      const vault = vaultOf(store, 'delete');
      const sessionId = args[0] as string;
      if (!(await vault.exists(sessionId))) {
        throw noSuchSession(sessionId, store.shown);
      }
      const what = await describeSession(store, sessionId);
      if (!options.yes) {
        // Before it is asked for nothing.
        await refuseHeld(store, sessionId);
      }
      if (!options.yes && !(await confirm(`Delete ${what} from ${store.shown} for good?`, '--yes'))) {
        return {
          data: { store: store.shown, sessionId, deleted: false },
          text: () => 'Nothing was deleted.',
        };
      }
      if (!(await vault.delete(sessionId))) {
        throw noSuchSession(sessionId, store.shown);
      }
      return { data: { store: store.shown, sessionId, deleted: true }, text: () => `Deleted ${what}.` };
    }),
});

/** A session whose key is lost may be deleted too, and then this says that it cannot be read. */
async function describeSession(store: SessionStore, sessionId: string): Promise<string> {
  const name = JSON.stringify(sessionId);
  try {
    const found = await store.read(sessionId);
    if (found === undefined) {
      return name;
    }
    const { account, records, bytes: size } = summaryOf(sessionId, found);
    return `${name} (${account?.id ?? 'not paired'}, ${records} records, ${bytes(size)})`;
  } catch (error) {
    return `${name} (which cannot be read: ${describe(error).code})`;
  }
}
