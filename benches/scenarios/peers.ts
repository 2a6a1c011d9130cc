import { bare } from '../peers/bare.js';
import { openPerField, PER_FIELD } from '../peers/per-field.js';
import { installReplaced, REPLACED, type Replaced } from '../peers/replaced.js';
import { MASTER_KEY, OURS, type Session } from '../support/contenders.js';
import { interleave, type Result, repeated, resultOf, type Subject } from '../support/measure.js';
import { baileysVersion, type KeyStore, type Patch } from '../support/packages.js';
import { fill, fillWithSessions } from '../support/records.js';
import { connectRedis, missing, REDIS_NOTE, redisPlace } from '../support/servers.js';
import { measureLoad, openOne, patchOf } from './redis.js';
import type { Scenario, Setup } from './scenario.js';

const SIZES = [10, 1_000, 100_000];
const QUICK_SIZES = [10, 1_000];
/** The package that this one replaces carries all records in every call: beyond this, filling it takes minutes. */
const MOST_SESSIONS = 1_000;
const SESSIONS = [1, 100, 1_000];
const QUICK_SESSIONS = [1, 100];
/** Opened at a time, each with a connection. */
const OPEN_STEP = 50;
/** Sessions in turn; no more than the smallest number of keys stored. */
const TURNS = 10;
const OPENED_KEYS = 1_000;
const OPENINGS = 20;

export const PEERS_OPEN_CASE = `open a session of ${OPENED_KEYS.toLocaleString('en')} keys in Redis, first get`;
const BARE = 'bare HSET / HMGET';
export const CONNECTED = `${OURS}, connected already`;
/** Whoever opens a session: all but the bare commands. */
export const PEERS = [PER_FIELD, REPLACED] as const;

const CALLS = ['set of 1 record', 'get of 1 record'] as const;
export const peersCase = (call: (typeof CALLS)[number], size: number): string =>
  `${call} in Redis, ${size.toLocaleString('en')} keys stored`;

interface Contender {
  name: string;
  open(sessionId: string): Promise<Session>;
  /** The most keys it is measured with. */
  most: number;
}

/** Whole sessions in Redis, beside the stores that programs use today. */
export const peers: Scenario = {
  id: 'peers',
  title: 'Redis: beside stores in JavaScript',
  baseline: PER_FIELD,
  heavy: true,
  missing: () => missing('redis'),
  run: async (setup) => {
    setup.note(REDIS_NOTE);
    setup.note(
      `The ${PER_FIELD} does what baileys-redis-auth does: a connection for each session, no sealing, no owner. ${BARE} encodes nothing.`,
    );
    const stops: (() => Promise<unknown>)[] = [];
    try {
      const server = await redisPlace();
      stops.push(server.stop);
      setup.progress(`${REPLACED}: installing`);
      const replaced = await installReplaced(baileysVersion);
      if (typeof replaced === 'string') {
        setup.note(replaced);
      } else {
        stops.push(replaced.remove);
        setup.note(
          `${REPLACED} is in its Redis mode, sealed, and does not print here what it prints at each call.`,
        );
      }
      const stores = storesOf(server.url, typeof replaced === 'string' ? undefined : replaced, setup);
      return [
        ...(await measureOpening(server.url, stores, setup)),
        ...(await measureCalls([...stores, await bareOf(server.url, stops)], setup)),
        ...(await measureMany(server.url, stores, setup, stops)),
      ];
    } finally {
      for (const stop of stops.reverse()) {
        await stop();
      }
    }
  },
};

function storesOf(url: string, replaced: Replaced | undefined, setup: Setup): Contender[] {
  const stores: Contender[] = [
    { name: OURS, open: (sessionId) => openOurs(url, sessionId, setup), most: Number.POSITIVE_INFINITY },
    {
      name: PER_FIELD,
      open: (sessionId) => openPerField(url, setup.baileys, sessionId),
      most: Number.POSITIVE_INFINITY,
    },
  ];
  if (replaced !== undefined) {
    stores.push({
      name: REPLACED,
      open: async (sessionId) => {
        const { state, saveCreds, store } = await replaced.openInRedis(sessionId, url, MASTER_KEY);
        return { keys: state.keys, saveCreds, close: () => store.disconnect() };
      },
      most: MOST_SESSIONS,
    });
  }
  return stores;
}

async function openOurs(url: string, sessionId: string, setup: Setup): Promise<Session> {
  const { state, saveCreds, store } = await openOne(url, sessionId, setup);
  return { keys: state.keys as unknown as KeyStore, saveCreds, close: () => store.close() };
}

/** The commands without a store around them, on one connection. */
async function bareOf(url: string, stops: (() => Promise<unknown>)[]): Promise<Contender> {
  const redis = await connectRedis(url);
  stops.push(async () => redis.disconnect());
  const open = async (sessionId: string): Promise<Session> => ({
    keys: bare(redis, sessionId),
    saveCreds: async () => {},
    close: async () => {},
  });
  return { name: BARE, open, most: Number.POSITIVE_INFINITY };
}

/** A new session with so many keys, and its creds: last, because one of the stores forgets them without keys. */
async function openFilled(
  { name, open }: Contender,
  size: number,
  { records, progress }: Setup,
): Promise<Session> {
  progress(`${name}: filling ${size} keys`);
  const session = await open(`peers-${name.replaceAll(/\W/g, '')}-${size}`);
  await (size > MOST_SESSIONS ? fill : fillWithSessions)(session.keys, records, size);
  await session.saveCreds();
  return session;
}

/** Opening what is stored, up to the first answer; with a connection to make, and for ours also without. */
async function measureOpening(url: string, stores: readonly Contender[], setup: Setup): Promise<Result[]> {
  const subjects: Subject[] = [];
  for (const store of stores) {
    const filled = await openFilled(store, OPENED_KEYS, setup);
    await filled.close();
    subjects.push(opening(store.name, store, setup));
  }
  const alone = await interleave(subjects, { rounds: OPENINGS, budgetMs: 0 });
  // Afterwards: as long as it is open, no other of ours has to connect.
  const other = await openOurs(url, 'peers-other', setup);
  const connected = opening(CONNECTED, stores[0] as Contender, setup);
  const beside = await interleave([connected], { rounds: OPENINGS, budgetMs: 0 });
  await other.close();
  return [...alone, ...beside].map(({ subject, samples }) =>
    resultOf('peers', PEERS_OPEN_CASE, subject.contender, 'ms', samples),
  );
}

function opening(contender: string, { name, open }: Contender, { records, progress }: Setup): Subject {
  progress(`${contender}: opening`);
  const [id] = records.hot[1] as [string];
  let session: Session | undefined;
  return {
    contender,
    work: async () => {
      session = await open(`peers-${name.replaceAll(/\W/g, '')}-${OPENED_KEYS}`);
      const found = await session.keys.get('session', [id]);
      if (!found[id]) {
        throw new Error(`${name} has lost a record`);
      }
    },
    settle: async () => {
      await session?.close();
      session = undefined;
    },
  };
}

/** Calls one after the other, with few and many keys stored. */
async function measureCalls(stores: readonly Contender[], setup: Setup): Promise<Result[]> {
  const { one, hot } = setup.records;
  const filled: { contender: string; size: number; session: Session }[] = [];
  try {
    for (const size of setup.quick ? QUICK_SIZES : SIZES) {
      for (const store of stores.filter(({ most }) => size <= most)) {
        filled.push({ contender: store.name, size, session: await openFilled(store, size, setup) });
      }
    }
    const results: Result[] = [];
    for (const call of CALLS) {
      setup.progress(call);
      const subjects = filled.map(({ contender, size, session: { keys } }): Subject & { size: number } => ({
        contender,
        size,
        work: repeated(
          call === 'set of 1 record'
            ? (turn) => keys.set(one[turn % TURNS] as Patch)
            : (turn) => keys.get('session', hot[turn % TURNS] as string[]),
        ),
      }));
      for (const { subject, samples } of await interleave(subjects, setup.effort)) {
        results.push(resultOf('peers', peersCase(call, subject.size), subject.contender, 'µs', samples));
      }
    }
    return results;
  } finally {
    await Promise.all(filled.map(({ session }) => session.close()));
  }
}

/** Many sessions that write at once, each with one record. */
async function measureMany(
  url: string,
  stores: readonly Contender[],
  setup: Setup,
  stops: (() => Promise<unknown>)[],
): Promise<Result[]> {
  const patch = patchOf(setup);
  const bare = await bareOf(url, stops);
  const results: Result[] = [];
  for (const count of setup.quick ? QUICK_SESSIONS : SESSIONS) {
    const opened: Session[] = [];
    try {
      const writers = new Map<string, (() => Promise<unknown>)[]>();
      for (const { name, open } of [...stores, bare]) {
        setup.progress(`${name}: opening ${count} sessions`);
        const sessions: Session[] = [];
        for (let from = 0; from < count; from += OPEN_STEP) {
          const step = Array.from({ length: Math.min(OPEN_STEP, count - from) }, (_, n) => from + n);
          sessions.push(...(await Promise.all(step.map((n) => open(`many-${count}-${n}`)))));
        }
        opened.push(...sessions);
        writers.set(
          name,
          sessions.map(
            ({ keys }, n) =>
              () =>
                keys.set(patch(n)),
          ),
        );
      }
      const nameOf = (figure: string) =>
        `${count.toLocaleString('en')} ${count === 1 ? 'session' : 'sessions'} beside stores in JS: ${figure}`;
      results.push(...(await measureLoad('peers', nameOf, writers, setup)));
    } finally {
      await Promise.all(opened.map((session) => session.close()));
    }
  }
  return results;
}
