/**
 * A program that keeps a session in a folder: `node keeper.mjs`. Each line it is told is a call as JSON, each line it
 * says the outcome: `{ value }`, or `{ code, field, message }` of the error.
 */
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { say } from '../../support/say.mjs';

const vault = createRequire(import.meta.url)('../../../dist/index.js');
const silent = () => {};
const logger = { debug: silent, info: silent, warn: silent, error: silent };

/** By name, so that a program can call the hook more than once. */
const hooks = new Map();
const lost = [];

const CALLS = {
  async open({ as = 'first', folder, options = {} }) {
    const onLeaseLost = (error) => lost.push(error.code);
    const hook = await vault.useMultiFileAuthState(folder, {
      logger,
      onLeaseLost,
      openTimeout: 0,
      ...options,
    });
    hooks.set(as, hook);
    return hook.state.creds.registrationId;
  },
  saveCreds: (_, hook) => hook.saveCreds(),
  set: ({ patch }, hook) => hook.state.keys.set(patch),
  get: ({ type, ids }, hook) => hook.state.keys.get(type, ids),
  touch: ({ seconds }, hook) => hook.store.touch('default', seconds),
  exists: (_, hook) => hook.store.exists('default'),
  verify: (_, hook) => hook.store.verify(),
  rotateKey: (_, hook) => hook.store.rotateKey('default'),
  delete: (_, hook) => hook.store.delete('default'),
  lost: () => lost,
  async close({ as = 'first' }, hook) {
    hooks.delete(as);
    await hook.store.close();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...args } = JSON.parse(line);
  try {
    say(JSON.stringify({ value: await CALLS[call](args, hooks.get(args.as ?? 'first')) }));
  } catch ({ code, field, message }) {
    say(JSON.stringify({ code, field, message }));
  }
}
