/**
 * Holds many sessions and says what they cost: `node --expose-gc scale-child.mjs <JSON of what is to be done>`.
 *
 * With `handover` it obeys its parent instead: `open`, `close` and `end`, each answered with the time.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';

const require = createRequire(import.meta.url);
const vault = require('../../dist/index.js');

/** Opened before the first look, so that what is there once only does not count. */
const WARM_UP = 200;
const IDLE_MS = 5_000;

const job = JSON.parse(process.argv[2]);

const silent = () => {};
const keyPair = { public: randomBytes(32), private: randomBytes(32) };
const identity = {
  noiseKey: keyPair,
  signedIdentityKey: keyPair,
  signedPreKey: { keyPair, signature: randomBytes(64), keyId: 1 },
  registrationId: 1,
  nextPreKeyId: 1,
  firstUnuploadedPreKeyId: 1,
};
const common = {
  logger: { debug: silent, info: silent, warn: silent, error: silent },
  // Making credentials is Baileys' work and takes longer than all else: the sessions share all but a secret.
  baileys: {
    initAuthCreds: () => ({ ...identity, advSecretKey: randomBytes(32).toString('base64') }),
    proto: { Message: { AppStateSyncKeyData: { fromObject: (value) => value } } },
  },
  masterKey: job.masterKey,
};
const { redisUrl, mongoUrl, postgresUrl } = job;
const hooks = {
  embedded: (sessionId) => vault.useHybridAuthState({ ...common, sessionId, embedded: { path: job.folder } }),
  Redis: (sessionId) => vault.useRedisAuthState({ ...common, sessionId, redis: { redisUrl } }),
  PostgreSQL: (sessionId) => vault.usePostgresAuthState({ ...common, sessionId, postgres: { postgresUrl } }),
  hybrid: (sessionId) =>
    vault.useHybridAuthState({
      ...common,
      sessionId,
      hybrid: { redisUrl, mongoUrl, mongoDatabase: 'scale' },
    }),
};
const open = hooks[job.mode];

/** Calls `work` for each item, so many at a time. */
async function eachOf(items, atATime, work) {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      await work(items[index], index);
    }
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}

/** Runs `work` and adds what it left of the event loop. */
async function watched(work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const cpu = process.cpuUsage();
  const start = performance.now();
  await work();
  const seconds = (performance.now() - start) / 1_000;
  const { user, system } = process.cpuUsage(cpu);
  // One more turn, so that a delay which is not over yet is counted.
  await sleep(5);
  delay.disable();
  return {
    seconds,
    cpuShare: (user + system) / 1e6 / seconds,
    delay99: delay.percentile(99) / 1e6,
    delayMax: delay.max / 1e6,
  };
}

function status(name) {
  return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}

/** Of `store`, which says what the whole process caches. */
async function memory(store) {
  for (let i = 0; i < 4; i++) {
    globalThis.gc();
    await sleep(50);
  }
  const { used_heap_size: heapUsed, total_physical_size: heapResident } = getHeapStatistics();
  const cached = store.stats().cache.bytes;
  return { resident: status('RssAnon') * 1_024, heapUsed, heapResident, cached };
}

/** Connections to Redis, that of the question aside. */
async function connections() {
  if (redisUrl === undefined) {
    return 0;
  }
  const { Redis } = require('ioredis');
  const redis = new Redis(redisUrl);
  const list = await redis.client('LIST');
  redis.disconnect();
  return list.trim().split('\n').length - 1;
}

async function measure() {
  const names = Array.from({ length: job.sessions }, (_, n) => `session-${n}`);
  const threadsBefore = status('Threads');
  const warm = [];
  for (let n = 0; n < WARM_UP; n++) {
    warm.push(await open(`warm-${n}`));
  }
  const held = [];
  const before = await memory(warm[0].store);
  const opening = await watched(() =>
    eachOf(names, job.opening, async (name, index) => {
      held[index] = await open(name);
    }),
  );
  const after = await memory(warm[0].store);
  const idle = await watched(() => sleep(IDLE_MS));
  const patch = { session: { '15550000001.0': job.record } };
  const writing = await watched(() => eachOf(held, job.writing, ({ state }) => state.keys.set(patch)));
  const again = await watched(() => eachOf(held, job.writing, ({ state }) => state.keys.set(patch)));
  const counts = { connections: await connections(), threads: status('Threads') - threadsBefore };
  const closing = await watched(() => eachOf(held, job.opening, ({ store }) => store.close()));
  await Promise.all(warm.map(({ store }) => store.close()));
  const each = (name) => (after[name] - before[name]) / job.sessions;
  return {
    ...counts,
    residentBytes: each('resident'),
    coreBytes: each('resident') - each('heapResident') - each('cached'),
    heapBytes: each('heapUsed'),
    opening,
    idle,
    writing,
    again,
    closing,
  };
}

/** On the clock that all processes of a machine share, ms. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

function obey() {
  const held = new Map();
  const orders = {
    open: async (name) => {
      const opened = await open(name);
      held.set(name, opened);
      if (job.writes) {
        await opened.saveCreds();
      }
    },
    close: async (name) => {
      await held.get(name).store.close();
      held.delete(name);
    },
    end: async () => {
      await Promise.all([...held.values()].map(({ store }) => store.close()));
    },
  };
  process.on('message', async ({ order, name }) => {
    const from = now();
    try {
      await orders[order](name);
      process.send({ order, name, from, to: now() });
    } catch (error) {
      process.send({ order, name, failure: String(error) });
    }
    if (order === 'end') {
      process.disconnect();
    }
  });
}

if (job.handover) {
  obey();
} else {
  process.stdout.write(JSON.stringify(await measure()));
}
