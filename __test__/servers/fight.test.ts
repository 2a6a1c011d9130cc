/** Two processes that want the same session, killed, frozen and closed at random. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const { BAILEYS_VAULT_FIGHT_SECONDS = '20' } = process.env;
const FIGHT_MS = Number(BAILEYS_VAULT_FIGHT_SECONDS) * 1_000;
const LOCK_TTL_S = 1;

interface Fight {
  /** Who acknowledged a number. */
  readonly acknowledged: Map<number, string[]>;
  /** What owners found when they opened the session. */
  readonly opened: { seq: number; version: number }[];
  readonly errors: string[];
  ends: number;
}

/** One after another, each until something befalls it. */
async function fight(
  place: Place,
  session: string,
  corner: string,
  until: number,
  log: Fight,
): Promise<void> {
  for (let life = 0; Date.now() < until; life++) {
    const by = `${corner}${life}`;
    const child = spawn(
      process.execPath,
      [join(__dirname, 'fight-child.mjs'), JSON.stringify({ place, session, by })],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const closed = once(child, 'close');
    let owns = () => {};
    const owning = new Promise<void>((resolve) => {
      owns = resolve;
    });
    child.stdin.on('error', () => {});
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [word, first, second] = line.split(' ');
      if (word === 'open') {
        log.opened.push({ seq: Number(first), version: Number(second) });
        owns();
      } else if (word === 'ack') {
        log.acknowledged.set(Number(first), [...(log.acknowledged.get(Number(first)) ?? []), by]);
      } else log.errors.push(first as string);
    });
    // Now and then before it is open.
    await Promise.race([owning, closed, sleep(Math.random() < 0.2 ? 300 : until - Date.now())]);
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
    }
    child.kill('SIGKILL');
    await closed;
    log.ends++;
  }
}

describeWith(['redis', 'ownMongo'], 'two processes fight for a session', () => {
  let redis: Server;
  let mongo: Server;

  before(async () => {
    redis = await startRedis({ persist: true });
    mongo = await startMongo();
  });

  after(() => Promise.all([redis.stop(), mongo.stop()]));

  async function survives(t: TestContext, mode: Mode): Promise<void> {
    const place = { mode, redisUrl: redis.url, mongoUrl: mongo.url, database: 'fight', lockTtl: LOCK_TTL_S };
    const session = `fight-${mode}`;
    const log: Fight = { acknowledged: new Map(), opened: [], errors: [], ends: 0 };
    const until = Date.now() + FIGHT_MS;
    await Promise.all(['red', 'blue'].map((corner) => fight(place, session, corner, until, log)));

    const { openPatiently: open } = await opening();
    const { state, store } = await open(place, session, { cacheBytes: 0 });
    const { left, right } = (await state.keys.get('session', ['left', 'right'])) as unknown as Record<
      string,
      { seq: number }
    >;
    assert.deepEqual(left, right);
    const ids = [...log.acknowledged.keys()];
    const found = (await state.keys.get('pre-key', ids.map(String))) as unknown as Record<
      string,
      { by: string }
    >;
    for (const [seq, by] of log.acknowledged) {
      // Had two owners acknowledged the same number, the later one would not have seen the earlier one's write.
      assert.equal(by.length, 1, `${seq} was acknowledged by ${by.join(' and ')}`);
      assert.equal(found[seq]?.by, by[0], `${seq}, acknowledged by ${by[0]}, is gone`);
      assert.ok(seq <= (left?.seq ?? 0), `${seq} was acknowledged, ${left?.seq} is the last one there`);
    }
    log.opened.sort((a, b) => a.seq - b.seq || a.version - b.version);
    for (const [n, { version }] of log.opened.entries()) {
      assert.ok(version >= (log.opened[n - 1]?.version ?? 0), 'versions went back');
    }
    await store.close();
    assert.ok(!log.errors.includes('undefined'), 'an error has no code');
    assert.ok(log.opened.length > 2 && ids.length > 10, 'there was hardly a fight');
    t.diagnostic(
      `${mode}: ${log.ends} processes ended, ${log.opened.length} owned the session, ${ids.length} writes acknowledged, none lost`,
    );
  }

  // All at once, because the processes mostly wait.
  it('every acknowledged write is there in the end', async (t) => {
    const modes = ['redis', 'write-through', 'write-behind'] as const;
    await Promise.all(modes.map((mode) => survives(t, mode)));
  });
});
