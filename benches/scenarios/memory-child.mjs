/** Opens many sessions and says what each costs: `node --expose-gc memory-child.mjs <mode> <folder> <sessions>`. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { getHeapStatistics } from 'node:v8';

const vault = createRequire(import.meta.url)('../../dist/index.js');

/** Opened before the first look, so that what is there once only does not count. */
const WARM_UP = 200;

const [mode, folder, count] = process.argv.slice(2);

const silent = () => {};
const options = {
  logger: { debug: silent, info: silent, warn: silent, error: silent },
  // Credentials are not what is measured: each hook holds the same small ones.
  baileys: {
    initAuthCreds: () => ({ advSecretKey: randomBytes(32).toString('base64') }),
    proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
  },
  embedded: { path: folder },
  cacheBytes: 0,
};

const first = await vault.useHybridAuthState({ ...options, sessionId: 'first' });
const open = {
  sessions: (sessionId) => first.store.openSession(sessionId),
  hooks: (sessionId) => vault.useHybridAuthState({ ...options, sessionId }),
}[mode];

/** Memory that this process has written to, in bytes; shared libraries and mapped files aside. */
function resident() {
  try {
    const [, kib] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    return Number(kib) * 1024;
  } catch {
    return process.memoryUsage().rss;
  }
}

async function look() {
  for (let i = 0; i < 4; i++) {
    globalThis.gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { used_heap_size: heapUsed, total_physical_size: heapResident } = getHeapStatistics();
  return { resident: resident(), heapUsed, heapResident };
}

const held = [];
for (let n = 0; n < WARM_UP; n++) {
  held.push(await open(`warm-${n}`));
}
const before = await look();
for (let n = 0; n < Number(count); n++) {
  held.push(await open(`session-${n}`));
}
const after = await look();
const grown = (name) => after[name] - before[name];
process.stdout.write(
  JSON.stringify({
    coreBytes: (grown('resident') - grown('heapResident')) / Number(count),
    heapBytes: grown('heapUsed') / Number(count),
  }),
);
await first.store.close();
await Promise.all(held.map((one) => (one.store ?? one).close()));
