/**
 * An append-only file that a crash cut short, at any byte: what is left of each session is a state that once was,
 * and all that was acknowledged before the cut.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { Program } from '../crash/support.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { opening } from './load.js';
import type { Place } from './open.mjs' with { 'resolution-mode': 'import' };

const SESSIONS = ['first', 'second', 'third'];
const WRITES = 12;
/** How the server is told to take what it finds. */
const CONFIG = { 'aof-load-truncated': 'yes' };

interface Ack {
  readonly session: string;
  readonly version: number;
  /** Of the file when the write had been acknowledged. */
  readonly length: number;
}

/** The file that grows: in a folder of its own since Redis 7. */
function logOf({ dir }: Server): string {
  const found = readdirSync(dir, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.incr\.aof$|^appendonly\.aof$/.test(name),
  );
  assert.equal(found.length, 1, `append-only files: ${found}`);
  return join(dir, found[0] as string);
}

/** Writes to all sessions at once and is killed; `beforeWriting` when they are open. */
async function write(
  t: TestContext,
  place: Place,
  redis: Server,
  beforeWriting: () => Promise<void>,
): Promise<Ack[]> {
  const task = { place, sessions: SESSIONS, file: logOf(redis), writes: WRITES };
  const child = new Program(t, join(__dirname, 'log-child.mjs'), [JSON.stringify(task)]);
  const acks: Ack[] = [];
  const hear = async (last: string): Promise<void> => {
    for (let line = await child.next(); line !== last; line = await child.next()) {
      const [, session, version, length] = line.split(' ') as [string, string, string, string];
      acks.push({ session, version: Number(version), length: Number(length) });
    }
  };
  await hear('open');
  await beforeWriting();
  child.tell('write');
  await hear('written');
  await child.crash();
  return acks;
}

/** Places to cut at: around every command of what came last, within commands, and some before that. */
function cuts(log: Buffer, from: number, count: number): number[] {
  const commands: number[] = [];
  for (let at = log.indexOf('\r\n*', from); at !== -1; at = log.indexOf('\r\n*', at + 1))
    commands.push(at + 2);
  const all = [
    ...commands.flatMap((at) => [at - 1, at, at + 1, at + 20]),
    ...Array.from({ length: count }, (_, n) => from + Math.floor(((log.length - from) * n) / count)),
    log.length,
  ];
  const places = [...new Set(all)].filter((at) => at > from && at <= log.length).sort((a, b) => a - b);
  // Evenly over all of them, the last one included.
  const step = Math.max(1, (places.length - 1) / (count - 1));
  return [...new Set(Array.from({ length: count }, (_, n) => places[Math.round(n * step)]))].filter(
    (at) => at !== undefined,
  );
}

/** What is stored of a session after `version` patches; nothing at 0. */
function stateAt(version: number) {
  const mirrored = version > 1 ? { left: { seq: version }, right: { seq: version } } : {};
  const ids = [version - 2, version - 1, version].filter((id) => id > 1);
  return { mirrored, ids: ids.map(String), filler: version > 1 ? 300 + 100 * (version % 3) : 0 };
}

/** Fails unless the session is whole at a version that once was; gives the version. */
async function versionOf(place: Place, session: string): Promise<number> {
  const { openPatiently: open } = await opening();
  const { state, store } = await open(place, session, { cacheBytes: 0 });
  try {
    const version = (await store.get(session))?.version ?? 0;
    const mirrored = await state.keys.get('session', ['left', 'right']);
    const ids: string[] = [];
    for await (const [id] of state.keys.list('pre-key') as AsyncIterable<[string, unknown]>) ids.push(id);
    const { filler } = await state.keys.get('sender-key', ['filler']);
    const found = {
      mirrored,
      ids: ids.sort((a, b) => Number(a) - Number(b)),
      filler: (filler as Buffer | undefined)?.length ?? 0,
    };
    assert.deepEqual(found, stateAt(version), `${session} at version ${version} is no state that was`);
    return version;
  } finally {
    await store.close();
  }
}

/** What the acknowledgements say of a file of `length`: the last version that must be there. */
const acknowledged = (acks: readonly Ack[], session: string, length: number): number =>
  Math.max(
    0,
    ...acks.filter((ack) => ack.session === session && ack.length <= length).map((ack) => ack.version),
  );

/** A copy of a server's folder that is removed after the test. */
function copyOf(t: TestContext, dir: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'vault-log-'));
  t.after(() => rmSync(copy, { recursive: true, force: true }));
  cpSync(dir, copy, { recursive: true });
  return copy;
}

async function startCut(t: TestContext, redis: Server, length: number): Promise<Server> {
  const dir = copyOf(t, redis.dir);
  truncateSync(join(dir, logOf(redis).slice(redis.dir.length)), length);
  const cut = await startRedis({ dir, persist: true, config: CONFIG });
  t.after(() => cut.stop());
  return cut;
}

describeWith('redis', 'an append-only file cut short, Redis alone', () => {
  for (const exclusive of [true, false]) {
    it(`leaves whole patches${exclusive ? '' : ', of writers without a lease too'}`, async (t) => {
      const redis = await startRedis({ persist: true });
      t.after(() => redis.stop());
      const place: Place = { mode: 'redis', redisUrl: redis.url, mongoUrl: '', database: '', exclusive };
      const acks = await write(t, place, redis, async () => {});
      assert.equal(acks.length, SESSIONS.length * (WRITES + 1));
      await redis.kill();
      const log = readFileSync(logOf(redis));
      // In the middle of the writes; the first ones bring the sessions about.
      const begun = acks.filter(({ version }) => version === 2).map(({ length }) => length);
      const lengths = [
        ...cuts(log, 0, exclusive ? 12 : 4),
        ...cuts(log, Math.min(...begun), exclusive ? 60 : 12),
      ];
      const seen = new Set<number>();
      let midway = 0;
      for (const length of lengths) {
        const cut = await startCut(t, redis, length);
        for (const session of SESSIONS) {
          const version = await versionOf({ ...place, redisUrl: cut.url }, session);
          const least = acknowledged(acks, session, length);
          assert.ok(
            version >= least,
            `${session}, cut at ${length}: version ${version}, acknowledged ${least}`,
          );
          assert.ok(version <= WRITES + 1);
          seen.add(version);
        }
        if (!log.subarray(length).toString('latin1').startsWith('*')) midway++;
        await cut.stop();
      }
      t.diagnostic(
        `${lengths.length} cuts, ${midway} of them within a command; versions ${[...seen].join(' ')}`,
      );
      assert.ok(seen.size > WRITES / 2, 'the cuts were all in one place');
      assert.ok(midway > 5, 'hardly a cut was within a command');
    });
  }
});

describeWith(['redis', 'ownMongo'], 'an append-only file cut short, with an outbox in it', () => {
  it('leaves whole patches, and is taken over up to the cut', async (t) => {
    const [redis, mongo] = await Promise.all([startRedis({ persist: true }), startMongo()]);
    t.after(() => Promise.all([redis.stop(), mongo.stop()]));
    const place: Place = {
      mode: 'write-behind',
      redisUrl: redis.url,
      mongoUrl: mongo.url,
      database: 'log',
    };
    let opened = 0;
    const acks = await write(t, place, redis, async () => {
      // What comes now is in the outbox alone.
      await mongo.kill();
      opened = readFileSync(logOf(redis)).length;
    });
    await redis.kill();
    const log = readFileSync(logOf(redis));
    const lengths = cuts(log, opened, 14);
    const seen = new Set<number>();
    for (const length of lengths) {
      const cut = await startCut(t, redis, length);
      const dir = copyOf(t, mongo.dir);
      const restored = await startMongo({ dir });
      t.after(() => restored.stop());
      const there = { ...place, redisUrl: cut.url, mongoUrl: restored.url };
      for (const session of SESSIONS) {
        const version = await versionOf(there, session);
        const least = acknowledged(acks, session, length);
        assert.ok(
          version >= least,
          `${session}, cut at ${length}: version ${version}, acknowledged ${least}`,
        );
        seen.add(version);
      }
      await Promise.all([cut.stop(), restored.stop()]);
    }
    t.diagnostic(`${lengths.length} cuts; versions ${[...seen].join(' ')}`);
    assert.ok(seen.size > WRITES / 3, 'the cuts were all in one place');
  });

  it('without the outbox that MongoDB names is no session without it', async (t) => {
    const [redis, mongo] = await Promise.all([startRedis({ persist: true }), startMongo()]);
    t.after(() => Promise.all([redis.stop(), mongo.stop()]));
    const place: Place = {
      mode: 'write-behind',
      redisUrl: redis.url,
      mongoUrl: mongo.url,
      database: 'log',
    };
    await write(t, place, redis, () => mongo.kill());
    await redis.kill();
    // From before anything was there.
    const cut = await startCut(t, redis, 0);
    await mongo.restart();
    const { open } = await opening();
    for (const session of SESSIONS) {
      await assert.rejects(open({ ...place, redisUrl: cut.url }, session), { code: 'SESSION_LOST' });
    }
  });
});
