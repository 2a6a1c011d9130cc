import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bare } from '../peers/bare.js';
import { perField } from '../peers/per-field.js';
import { installReplaced, REPLACED, type Replaced } from '../peers/replaced.js';
import { BASELINE, logger, MASTER_KEY, makeFolder } from '../support/contenders.js';
import {
  type Effort,
  interleave,
  type Result,
  repeated,
  resultOf,
  type Subject,
} from '../support/measure.js';
import { baileysVersion, type KeyStore, type Patch, vault } from '../support/packages.js';
import { fill, fillWithSessions } from '../support/records.js';
import {
  connectRedis,
  missing,
  mongoNote,
  mongoPlace,
  type Place,
  REDIS_NOTE,
  redisPlace,
} from '../support/servers.js';
import type { Scenario, Setup } from './scenario.js';

const SMALL_SIZES = [10, 100, 1_000];
const SIZES = [...SMALL_SIZES, 100_000];
const QUICK_SIZES = SMALL_SIZES;
/** Up to here all keys are session records; of more keys, the rest are identity keys, and none are files. */
const MOST_SESSIONS = 1_000;
/** For patches of 1,000 records on a slow MongoDB, while filling. */
const PATIENCE_MS = 120_000;
/** MongoDB folds large patches into records after they are acknowledged. */
const FOLDING_MS = 10_000;
const EFFORT: Effort = { rounds: 5, budgetMs: 80 };
/** Its calls take so long that each counts by itself. */
const REPLACED_EFFORT: Effort = { rounds: 5, budgetMs: 1 };
/** Sessions in turn; no more than the smallest number of keys stored. */
const TURNS = 10;

export const THROUGH = 'write-through';
export const BEHIND = 'write-behind';
export const BARE = 'bare HSET / HMGET';
const PER_FIELD = 'per-field store';

const CALLS = ['set of 1 record', 'get of 1 record'] as const;
export const hybridCase = (call: (typeof CALLS)[number], size: number): string =>
  `${call}, ${size.toLocaleString('en')} keys stored`;

/** An open session that holds so many keys. */
interface Filled {
  contender: string;
  size: number;
  keys: KeyStore;
  close(): Promise<unknown>;
  /** Waits for what goes on after the answer. */
  settle?(): Promise<unknown>;
}

interface Places {
  redis: Place;
  mongo: Place;
  folder: string;
}

type Open = (name: string, places: Places, setup: Setup) => Promise<Omit<Filled, 'contender' | 'size'>>;

const vaultOf =
  (enableWriteBehind: boolean): Open =>
  async (name, { redis, mongo }, { baileys }) => {
    // In one process, a place is used in one mode.
    const mongoDatabase = enableWriteBehind ? 'behind' : 'through';
    const { state, saveCreds, store } = await vault.useHybridAuthState({
      sessionId: name,
      hybrid: { redisUrl: redis.url, mongoUrl: mongo.url, mongoDatabase, enableWriteBehind },
      masterKey: MASTER_KEY,
      resilience: { operationTimeout: PATIENCE_MS },
      logger,
      baileys,
    });
    await saveCreds();
    const settle = () => store.reconcileOutbox();
    return {
      keys: state.keys as unknown as KeyStore,
      close: () => store.close(),
      ...(enableWriteBehind ? { settle } : {}),
    };
  };

const CONTENDERS: readonly { name: string; open: Open }[] = [
  { name: THROUGH, open: vaultOf(false) },
  { name: BEHIND, open: vaultOf(true) },
  {
    name: BARE,
    open: async (name, { redis: { url } }) => {
      const redis = await connectRedis(url);
      return { keys: bare(redis, name), close: async () => redis.disconnect() };
    },
  },
  {
    name: PER_FIELD,
    open: async (name, { redis: { url } }, { baileys }) => {
      const redis = await connectRedis(url);
      return { keys: perField(redis, baileys, name), close: async () => redis.disconnect() };
    },
  },
  {
    name: BASELINE,
    open: async (name, { folder }, { baileys }) => {
      const { state } = await baileys.useMultiFileAuthState(join(folder, name));
      return { keys: state.keys as unknown as KeyStore, close: async () => {} };
    },
  },
];

/** Calls one after the other in Redis with MongoDB behind, with few and many keys stored. */
export const hybrid: Scenario = {
  id: 'hybrid',
  title: 'Hybrid: Redis with MongoDB as the truth, one call at a time, awaited',
  baseline: BARE,
  heavy: true,
  missing: () => missing('redis', 'mongo'),
  run: async (setup) => {
    setup.note(REDIS_NOTE);
    setup.note(mongoNote());
    setup.note(
      'All keys are session records; of 100,000 keys, all but 64 are identity keys, and it is too many for files.',
    );
    setup.note(
      `${BARE} and the ${PER_FIELD} keep one copy in Redis and ${BASELINE} one in files: no MongoDB, no sealing, no owner.`,
    );
    const stops: (() => Promise<unknown>)[] = [];
    try {
      const { folder, remove } = await makeFolder();
      stops.push(remove);
      const redis = await redisPlace();
      stops.push(redis.stop);
      const mongo = await mongoPlace();
      stops.push(mongo.stop);
      const places = { redis, mongo, folder };
      return [...(await measureOurs(places, setup)), ...(await measureReplaced(places, setup))];
    } finally {
      for (const stop of stops.reverse()) {
        await stop();
      }
    }
  },
};

async function measureOurs(places: Places, setup: Setup): Promise<Result[]> {
  const filled: Filled[] = [];
  try {
    for (const size of setup.quick ? QUICK_SIZES : SIZES) {
      for (const { name, open } of CONTENDERS) {
        if (name === BASELINE && size > MOST_SESSIONS) {
          continue;
        }
        setup.progress(`${name}: filling ${size} keys`);
        const opened = await open(`${name.replaceAll(/\W/g, '')}-${size}`, places, setup);
        filled.push({ contender: name, size, ...opened });
        await (size > MOST_SESSIONS ? fill : fillWithSessions)(opened.keys, setup.records, size);
        await opened.settle?.();
      }
    }
    await sleep(setup.quick ? 0 : FOLDING_MS);
    return await measure(filled, setup, EFFORT);
  } finally {
    await Promise.all(filled.map(({ close }) => close()));
  }
}

/** Beside nobody: what it does after its answers would be counted against the others. */
async function measureReplaced(places: Places, setup: Setup): Promise<Result[]> {
  setup.progress(`${REPLACED}: installing`);
  const installed = await installReplaced(baileysVersion);
  if (typeof installed === 'string') {
    setup.note(installed);
    return [];
  }
  try {
    return await measureInstalled(installed, places, setup);
  } catch (error) {
    setup.note(`${REPLACED} failed: ${error instanceof Error ? error.message : String(error)}`);
    return [];
  } finally {
    await installed.remove();
  }
}

async function measureInstalled(installed: Replaced, places: Places, setup: Setup): Promise<Result[]> {
  setup.note(
    `${REPLACED} (its PRODUCTION preset) was measured right after the others, in rounds of its own.`,
  );
  const results: Result[] = [];
  for (const size of setup.quick ? QUICK_SIZES : SMALL_SIZES) {
    const { state, saveCreds, store } = await installed.open(`replaced-${size}`, {
      redisUrl: places.redis.url,
      mongoUrl: places.mongo.url,
      mongoDatabase: 'bench_replaced',
      mongoCollection: 'auth',
      masterKey: MASTER_KEY,
    });
    try {
      await saveCreds();
      setup.progress(`${REPLACED}: filling ${size} keys`);
      await fillWithSessions(state.keys, setup.records, size);
      const filled = { contender: REPLACED, size, keys: state.keys, close: async () => {} };
      results.push(...(await measure([filled], setup, REPLACED_EFFORT)));
    } finally {
      await store.disconnect();
    }
  }
  return results;
}

async function measure(filled: readonly Filled[], setup: Setup, effort: Effort): Promise<Result[]> {
  const { one, hot } = setup.records;
  const results: Result[] = [];
  for (const call of CALLS) {
    setup.progress(call);
    const subjects = filled.map(({ contender, size, keys, settle }): Subject & { size: number } => ({
      contender,
      size,
      work: repeated(
        call === 'set of 1 record'
          ? (turn) => keys.set(one[turn % TURNS] as Patch)
          : (turn) => keys.get('session', hot[turn % TURNS] as string[]),
      ),
      ...(settle === undefined ? {} : { settle }),
    }));
    for (const { subject, samples } of await interleave(subjects, effort)) {
      results.push(resultOf('hybrid', hybridCase(call, subject.size), subject.contender, 'µs', samples));
    }
  }
  return results;
}
