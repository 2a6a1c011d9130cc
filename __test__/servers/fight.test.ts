/** Two processes that want the same session, killed, frozen and closed at random. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import {
  describeWith,
  type Server,
  sql,
  startMongo,
  startPostgres,
  startRedis,
} from '../support/services.js';
import { opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const { BAILEYS_VAULT_FIGHT_SECONDS = '60' } = process.env;
const FIGHT_MS = Number(BAILEYS_VAULT_FIGHT_SECONDS) * 1_000;
/** After which it ends whatever happened, in ms. */
const LONGEST_MS = 4 * FIGHT_MS;
const LOCK_TTL_S = 1;
/** Keys that every owner overwrites in turn. */
const CONTESTED = Array.from({ length: 50 }, (_, n) => `${n}`);
/** How often the head of the session is looked at on the server, in ms. */
const LOOK_EVERY = 50;

const MODES = [
  'redis',
  'mongo',
  'postgres',
  'write-through',
  'write-behind',
  'postgres-behind',
  'embedded',
] as const;

/** Each mode has one of its own, since one process opens one place in one way. */
const databaseOf = (mode: Mode): string => `fight-${mode}`;

/** What is known of a session without opening it. */
interface Head {
  readonly token: number;
  readonly version: number;
}
type Look = (session: string) => Promise<Head | undefined>;

interface Fight {
  /** Who acknowledged a number. */
  readonly acknowledged: Map<number, string[]>;
  /** What owners found when they opened the session. */
  readonly opened: { seq: number; version: number }[];
  readonly errors: Map<string, number>;
  /** How the processes ended. */
  readonly ends: { killed: number; frozen: number; closed: number };
}

/** Whether enough happened to show something. */
const wasFought = ({ ends, opened, acknowledged }: Fight): boolean =>
  ends.killed > 2 && opened.length > 2 && acknowledged.size > 10;

/** One after another, each until something befalls it. */
async function fight(
  place: Place,
  session: string,
  corner: string,
  over: () => boolean,
  log: Fight,
): Promise<void> {
  for (let life = 0; !over(); life++) {
    const by = `${corner}${life}`;
    const task = { place, session, by, contested: CONTESTED.length };
    const child = spawn(process.execPath, [join(__dirname, 'fight-child.mjs'), JSON.stringify(task)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    let owns = () => {};
    const owning = new Promise<void>((resolve) => {
      owns = resolve;
    });
    child.stdin.on('error', () => {});
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [word, first, second] = line.split(' ') as [string, string, string?];
      if (word === 'open') {
        log.opened.push({ seq: Number(first), version: Number(second) });
        owns();
      } else if (word === 'ack') {
        log.acknowledged.set(Number(first), [...(log.acknowledged.get(Number(first)) ?? []), by]);
      } else log.errors.set(first, (log.errors.get(first) ?? 0) + 1);
    });
    // Now and then before it is open.
    await Promise.race([owning, closed, sleep(Math.random() < 0.2 ? 300 : FIGHT_MS)]);
    await sleep(Math.random() * 1_000);
    const fate = Math.random();
    if (fate < 0.25) {
      child.stdin.write('close\n');
      // It may be waiting for the session still.
      await Promise.race([closed, sleep(3_000)]);
    } else if (fate < 0.5) {
      // Longer than its lease: the other takes over, and this one has to notice.
      child.kill('SIGSTOP');
      await sleep(LOCK_TTL_S * 2_000);
      child.kill('SIGCONT');
      await sleep(500);
      log.ends.frozen++;
    }
    const gone = child.exitCode !== null;
    child.kill('SIGKILL');
    await closed;
    log.ends[gone ? 'closed' : 'killed']++;
  }
}

/** Looks at the session from outside, again and again: neither its token nor its version ever goes back. */
async function watch(look: Look, session: string, over: () => boolean): Promise<number> {
  let last: Head = { token: 0, version: 0 };
  let looks = 0;
  while (!over()) {
    const head = await look(session);
    if (head !== undefined) {
      assert.ok(head.token >= last.token, `token ${head.token} after ${last.token}`);
      assert.ok(head.version >= last.version, `version ${head.version} after ${last.version}`);
      last = head;
      looks++;
    }
    await sleep(LOOK_EVERY);
  }
  return looks;
}

describeWith(['redis', 'ownMongo', 'postgres'], 'two processes fight for a session', () => {
  let redis: Server;
  let mongo: Server;
  let postgres: Server;
  let folder: string;
  let redisClient: Redis;
  let mongoClient: MongoClient;

  before(async () => {
    [redis, mongo, postgres, folder] = await Promise.all([
      startRedis({ persist: true }),
      startMongo(),
      startPostgres(),
      mkdtemp(join(tmpdir(), 'vault-fight-')),
    ]);
    redisClient = new Redis(redis.url);
    mongoClient = new MongoClient(mongo.url);
  });

  after(async () => {
    redisClient.disconnect();
    await mongoClient.close();
    await Promise.all([
      redis.stop(),
      mongo.stop(),
      postgres.stop(),
      rm(folder, { recursive: true, force: true }),
    ]);
  });

  const lookAtRedis: Look = async (session) => {
    const [token, version] = (await redisClient.hget(`bv:{${session}}`, '@'))?.split(':').map(Number) ?? [];
    return token === undefined || version === undefined ? undefined : { token, version };
  };

  const lookAtMongo =
    (mode: Mode): Look =>
    async (session) => {
      const sessions = mongoClient.db(databaseOf(mode)).collection<Head & { _id: string }>('vault_sessions');
      return (
        (await sessions.findOne({ _id: session }, { projection: { token: 1, version: 1 } })) ?? undefined
      );
    };

  const lookAtPostgres =
    (mode: Mode): Look =>
    async (session) => {
      const row = `SELECT token, version FROM "${databaseOf(mode)}".vault_session WHERE id = '${session}'`;
      try {
        const [token, version] = sql(postgres, row).split('|').map(Number);
        return token === undefined || version === undefined ? undefined : { token, version };
      } catch {
        // The tables are not there yet.
        return undefined;
      }
    };

  /** Where the last word about a session is; a folder's is known to its owner alone. */
  function lookOf(mode: Mode): Look {
    if (mode === 'embedded') return async () => undefined;
    if (mode.startsWith('postgres')) return lookAtPostgres(mode);
    return mode === 'redis' ? lookAtRedis : lookAtMongo(mode);
  }

  async function survives(t: TestContext, mode: (typeof MODES)[number]): Promise<void> {
    const place = {
      mode,
      redisUrl: redis.url,
      mongoUrl: mongo.url,
      postgresUrl: postgres.url,
      database: databaseOf(mode),
      folder,
      lockTtl: LOCK_TTL_S,
    };
    const session = `fight-${mode}`;
    const log: Fight = {
      acknowledged: new Map(),
      opened: [],
      errors: new Map(),
      ends: { killed: 0, frozen: 0, closed: 0 },
    };
    const began = Date.now();
    // A busy machine gets as long as it needs for a fight.
    const enough = () => {
      const lasted = Date.now() - began;
      return lasted > LONGEST_MS || (lasted > FIGHT_MS && wasFought(log));
    };
    let over = false;
    const fights = Promise.all(['red', 'blue'].map((corner) => fight(place, session, corner, enough, log)));
    const [looks] = await Promise.all([
      watch(lookOf(mode), session, () => over),
      fights.finally(() => {
        over = true;
      }),
    ]);

    const { openPatiently: open } = await opening();
    const { state, store } = await open(place, session, { cacheBytes: 0 });
    const both = await state.keys.get('session', ['left', 'right']);
    const { left, right } = both as unknown as Record<string, { seq: number } | undefined>;
    assert.deepEqual(left, right, 'half a patch is there');
    const found = new Map<number, string>();
    for await (const [id, { by }] of state.keys.list('pre-key') as AsyncIterable<[string, { by: string }]>) {
      found.set(Number(id), by);
    }
    const slots = (await state.keys.get('sender-key', CONTESTED)) as unknown as Record<
      string,
      { seq: number }
    >;
    let lost = 0;
    for (const [seq, by] of log.acknowledged) {
      // Had two owners acknowledged the same number, the later one would not have seen the earlier one's write.
      assert.equal(by.length, 1, `${seq} was acknowledged by ${by.join(' and ')}`);
      // Owners go on from the last number there, so whoever overwrote a key did it with a higher one.
      const last = Math.min(left?.seq ?? 0, slots[seq % CONTESTED.length]?.seq ?? 0);
      if (found.get(seq) !== by[0] || last < seq) lost++;
    }
    // A write that was applied twice, or for two owners, would have counted twice.
    assert.equal((await store.get(session))?.version, found.size, 'a version for each write');
    await store.close();

    const { killed, frozen, closed } = log.ends;
    t.diagnostic(
      `${mode}, ${Math.round((Date.now() - began) / 1_000)} s: ${killed} processes killed, ${closed} ended by themselves, ${frozen} of all frozen ` +
        `first; ${log.opened.length} owners; ${log.acknowledged.size} writes acknowledged, ${lost} lost; head looked at ` +
        `${looks} times; refused: ${JSON.stringify(Object.fromEntries(log.errors))}`,
    );
    assert.equal(lost, 0, `${mode}: acknowledged writes are gone`);
    log.opened.sort((a, b) => a.seq - b.seq || a.version - b.version);
    for (const [n, later] of log.opened.entries()) {
      const earlier = log.opened[n - 1]?.version ?? 0;
      assert.ok(later.version >= earlier, `version ${later.version} was opened after ${earlier}`);
    }
    assert.ok(!log.errors.has('undefined'), 'an error has no code');
    assert.ok(wasFought(log), 'there was hardly a fight');
  }

  // All at once, because the processes mostly wait.
  it('every acknowledged write is there in the end', async (t) => {
    await Promise.all(MODES.map((mode) => survives(t, mode)));
  });
});
