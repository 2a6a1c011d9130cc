/** Machines whose clocks are wrong by an hour: they neither take a live session nor lose theirs. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Load } from '../servers/load.js';
import type { Mode, Place } from '../servers/open.mjs' with { 'resolution-mode': 'import' };
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { type Clock, clockmaker, noClocks } from './clock.js';
import { makeFolder, runNode } from './support.js';

const HOUR = 3_600;
const LOCK_TTL = 3;
/** Longer than a lease, in ms. */
const LEASES_MS = 2.5 * LOCK_TTL * 1_000;

const MODES = ['redis', 'mongo', 'write-through', 'write-behind', 'embedded'] as const;
const CLOCKS = [
  { owner: 0, contender: HOUR },
  { owner: 0, contender: -HOUR },
  { owner: HOUR, contender: 0 },
  { owner: -HOUR, contender: 0 },
] as const;

interface Contended {
  readonly now: number;
  readonly version?: number;
  readonly updatedAt?: number;
  readonly code?: string;
  readonly message?: string;
  readonly holder?: { readonly pid: number };
}

async function contend(
  t: TestContext,
  place: Place,
  session: string,
  clock: Clock,
  openTimeout: number,
): Promise<Contended> {
  const task = JSON.stringify({ place, session, openTimeout });
  const program = join(__dirname, 'programs', 'contender.mjs');
  const { stdout, stderr } = await runNode(t, [program, task], { env: { ...process.env, ...clock.env } });
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout) as Contended;
}

/** That the clock of a process was as wrong as it was meant to be. */
const wasWrong = ({ now }: Contended, seconds: number): void =>
  assert.ok(Math.abs(now - Date.now() - seconds * 1_000) < 120_000, `its clock was at ${new Date(now)}`);

describeWith(['redis', 'ownMongo'], 'processes with wrong clocks', () => {
  let redis: Server;
  let mongo: Server;

  before(async () => {
    [redis, mongo] = await Promise.all([startRedis(), startMongo()]);
  });
  after(() => Promise.all([redis.stop(), mongo.stop()]));

  async function keeps(
    t: TestContext,
    mode: Mode,
    clocks: (typeof CLOCKS)[number],
    clockAt: (seconds: number) => Clock,
  ): Promise<void> {
    const place: Place = {
      mode,
      redisUrl: redis.url,
      mongoUrl: mongo.url,
      database: 'clocks',
      folder: await makeFolder(t),
      lockTtl: LOCK_TTL,
    };
    const what = `${mode}, owner ${clocks.owner} s, contender ${clocks.contender} s`;
    const session = `clock-${mode}-${clocks.owner}-${clocks.contender}`;
    const clock = clockAt(clocks.owner);
    const load = await Load.start(t, place, { sessions: [session], env: clock.env });
    const wrong = clockAt(clocks.contender);
    const refused = await contend(t, place, session, wrong, LEASES_MS);
    wasWrong(refused, clocks.contender);
    assert.equal(refused.code, 'SESSION_BUSY', `${what}: ${JSON.stringify(refused)}`);
    assert.equal(refused.holder?.pid, load.pid, what);
    // Its clock is put right, or wrong, or wrong the other way round, while it runs.
    for (const seconds of [-clocks.owner || HOUR, clocks.owner && 0, clocks.owner]) {
      clock.set(seconds);
      await sleep(LEASES_MS / 2);
      await load.goesOn(`${what}, its clock ${seconds} s ahead`);
    }
    assert.deepEqual(load.codes(), {}, what);
    assert.deepEqual([...load.lost], [], what);

    // Nor does anybody wait an hour for one that is gone.
    await load.crash();
    const taken = await contend(t, place, session, wrong, 60_000);
    assert.equal(taken.code, undefined, `${what}: ${JSON.stringify(taken)}`);
    assert.ok(Number(taken.version) > load.acknowledged, what);
    // MongoDB writes down its own time; the others are told it, by a core whose clock is as wrong as Node's.
    const dated = mode === 'mongo' || mode === 'write-through' ? 0 : clocks.contender;
    wasWrong({ now: Number(taken.updatedAt) }, dated);
    // Whoever comes next has the right time, and tokens from the future before it.
    const last = await contend(t, place, session, clockAt(0), 60_000);
    assert.equal(last.version, Number(taken.version) + 2, `${what}: ${JSON.stringify(last)}`);
    assert.equal(await load.countLost(place), 0, what);
  }

  for (const mode of MODES) {
    it(`keep what they own, and take nothing that is owned: ${mode}`, noClocks, async (t) => {
      const clockAt = await clockmaker(t);
      // All at once, because they mostly wait.
      await Promise.all(CLOCKS.map((clocks) => keeps(t, mode, clocks, clockAt)));
    });
  }

  for (const mode of ['redis', 'mongo', 'write-behind'] as const) {
    it(`wait for a lease as long as it lasts, whatever the time: ${mode}`, noClocks, async (t) => {
      const clockAt = await clockmaker(t);
      const place: Place = {
        mode,
        redisUrl: redis.url,
        mongoUrl: mongo.url,
        database: 'clocks',
        lockTtl: 4 * LOCK_TTL,
      };
      const stopped = CLOCKS.map(async ({ owner, contender }) => {
        const session = `stopped-${mode}-${owner}-${contender}`;
        const load = await Load.start(t, place, { sessions: [session], env: clockAt(owner).env });
        // Alive, so that only the end of its lease lets anybody in.
        load.signal('SIGSTOP');
        const early = await contend(t, place, session, clockAt(contender), 0);
        assert.equal(early.code, 'SESSION_BUSY', JSON.stringify(early));
        const later = await contend(t, place, session, clockAt(contender), 60_000);
        assert.equal(later.code, undefined, JSON.stringify(later));
        load.signal('SIGCONT');
        await load.until('it hears that its lease is lost', () => load.lost.has(session));
      });
      await Promise.all(stopped);
    });
  }
});
