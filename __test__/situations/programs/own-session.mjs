/**
 * A bot that was logged out and does what bots do: `node own-session.mjs <JSON: folder or redisUrl and sessionId>`.
 * Prints as JSON what the methods of `store` answer that are called without a name.
 */
import { createRequire } from 'node:module';

const vault = createRequire(import.meta.url)('../../../dist/index.js');
const task = JSON.parse(process.argv[2]);
const KEY = '0123456789abcdef'.repeat(4);
const open = () =>
  task.folder
    ? vault.useMultiFileAuthState(task.folder, { masterKey: KEY })
    : vault.useRedisAuthState({
        sessionId: task.sessionId,
        redis: { redisUrl: task.redisUrl },
        masterKey: KEY,
      });
const attempt = (work) => work().catch((error) => `${error.code} ${error.path}`);

const { store } = await open();
const results = {
  'exists before': await store.exists(),
  'get before': await store.get(),
  'delete before': await store.delete(),
};
await store.close();

const bot = await open();
await bot.saveCreds();
await bot.state.keys.set({ 'lid-mapping': { a: 'b' } });
const found = await bot.store.get();
Object.assign(results, {
  exists: await bot.store.exists(),
  get: found.data.creds.advSecretKey === bot.state.creds.advSecretKey && found.data.keys,
  rotateKey: await bot.store.rotateKey(),
  'delete of a name that is undefined': await attempt(() => bot.store.delete(process.env.NO_SUCH_VARIABLE)),
  'delete of null': await attempt(() => bot.store.delete(null)),
  'delete of another': await bot.store.delete('nobody'),
  'still there': await bot.store.exists(),
  delete: await bot.store.delete(),
  'exists after': await bot.store.exists(),
  'delete again': await bot.store.delete(),
  'set after': await bot.state.keys.set({ session: { a: 1 } }).catch((error) => error.code),
});
const secret = bot.state.creds.advSecretKey;
await bot.store.close();
const anew = await open();
results['a new identity'] = anew.state.creds.advSecretKey !== secret;
await anew.store.close();
console.log(JSON.stringify(results));
