/**
 * A bot on the folder of `useMultiFileAuthState`, without a network: `node folder.mjs <task as JSON>` with the folder, the
 * hook's options, where it is to be killed, and what it does. Says how it went as JSON.
 */
import { promises } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { useMultiFileAuthState } from 'baileys-vault';

const { folder, options = {}, kill, steps = [] } = JSON.parse(process.argv[2]);

if (kill !== undefined) {
  const { call, times } = kill;
  const original = promises[call];
  let count = 0;
  promises[call] = (...given) => {
    if (given.some((path) => /(imported|ignored)-\d/.test(String(path)))) {
      count += 1;
      if (count === times) process.kill(process.pid, 'SIGKILL');
    }
    return original(...given);
  };
  syncBuiltinESMExports();
}

const logs = [];
const log = (level) => (message, fields) => logs.push({ level, message, ...fields });
const logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
const out = { logs, results: [] };

const opening = useMultiFileAuthState(folder, { ...options, logger });
// What the folder was relative to is gone before the first wait ends.
if (process.env.CHDIR) process.chdir(process.env.CHDIR);
try {
  const { state, saveCreds, store } = await opening;
  out.secret = state.creds.advSecretKey;
  out.me = state.creds.me;
  const actions = {
    save: (change) => {
      Object.assign(state.creds, change);
      return saveCreds();
    },
    set: (patch) => state.keys.set(patch),
    get: ([type, ids]) => state.keys.get(type, ids),
    delete: () => store.delete(),
    version: async () => (await store.get())?.version ?? 0,
  };
  for (const [name, argument] of steps) {
    out.results.push((await actions[name](argument)) ?? null);
  }
  await store.close();
} catch (error) {
  const { code, name, message, stored, foreign } = error;
  out.error = { code, name, message, stored, foreign };
}
console.log(JSON.stringify(out));
