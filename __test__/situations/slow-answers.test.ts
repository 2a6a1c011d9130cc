/** A server that is slow for a moment, as when its disk is: what was begun before the breaker opened is carried out. */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { AuthStateResult } from '../../lib/index.js';
import { light } from '../crash/support.js';
import { describeWith, type Server, startMongo, startRedis, until } from '../support/services.js';

const SESSIONS = 12;
/** A try is given up after half of `operationTimeout`, which is 5 s unless it is set. */
const TRY_MS = 2_500;
const OPERATION_MS = 5_000;
/** What is older does not count. */
const WINDOW_MS = 2_000;

interface Opened {
  readonly session: string;
  readonly hook: AuthStateResult;
}

interface Outcome {
  readonly what: string;
  readonly ms: number;
  readonly code?: string;
  readonly found?: unknown;
}

const MODES = ['redis', 'mongo', 'hybrid'] as const;

describeWith(['redis', 'ownMongo'], 'a server that answers late for a while', () => {
  const open = async (mode: (typeof MODES)[number], redisUrl: string, mongoUrl: string, log: string[]) => {
    const { vault, baileys } = await light();
    const silent = (): void => {};
    const warn = (...parts: unknown[]): void =>
      void log.push(String(parts.find((part) => typeof part === 'string')));
    const anywhere = {
      baileys,
      logger: { debug: silent, info: silent, warn, error: warn },
      // So that every read is a call, and no renewal comes between.
      cacheBytes: 0,
      ttl: { lockTtl: 300 },
      resilience: { breaker: { window: WINDOW_MS } },
    };
    const hook: (sessionId: string) => Promise<AuthStateResult> = {
      redis: (sessionId: string) => vault.useRedisAuthState({ ...anywhere, sessionId, redis: { redisUrl } }),
      mongo: (sessionId: string) =>
        vault.useMongoAuthState({ ...anywhere, sessionId, mongodb: { mongoUrl, databaseName: 'slow' } }),
      hybrid: (sessionId: string) =>
        vault.useHybridAuthState({
          ...anywhere,
          sessionId,
          hybrid: { redisUrl, mongoUrl, mongoDatabase: 'slow-hybrid' },
        }),
    }[mode];
    const sessions: Opened[] = [];
    for (let n = 0; n < SESSIONS; n++) {
      const session = `slow-${mode}-${n}`;
      const opened = await hook(session);
      await opened.saveCreds();
      await opened.state.keys.set({ session: { contact: { seq: 0 } as never } });
      sessions.push({ session, hook: opened });
    }
    return sessions;
  };

  /** Begins a read and a write of each session at once. */
  function begin(sessions: readonly Opened[]): Promise<Outcome[]> {
    const begun = performance.now();
    const outcome = async (what: string, work: unknown): Promise<Outcome> => {
      try {
        return { what, found: await work, ms: performance.now() - begun };
      } catch (error) {
        return { what, code: (error as { code?: string }).code ?? 'untyped', ms: performance.now() - begun };
      }
    };
    return Promise.all(
      sessions.flatMap(({ session, hook: { state } }) => [
        outcome(`read of ${session}`, state.keys.get('session', ['contact'])),
        outcome(`write of ${session}`, state.keys.set({ 'sender-key': { group: { seq: 1 } as never } })),
      ]),
    );
  }

  /** So that reads are MongoDB's. */
  async function emptied(redis: Server): Promise<void> {
    const client = new Redis(redis.url);
    await client.flushall();
    client.disconnect();
  }

  async function keepsItsTries(t: TestContext, mode: (typeof MODES)[number]): Promise<void> {
    const [redis, mongo] = await Promise.all([startRedis(), startMongo()]);
    t.after(() => Promise.all([redis.stop(), mongo.stop()]));
    const log: string[] = [];
    const sessions = await open(mode, redis.url, mongo.url, log);
    t.after(() => Promise.all(sessions.map(({ hook }) => hook.store.close())));
    if (mode === 'hybrid') await emptied(redis);
    const slow = mode === 'redis' ? redis : mongo;
    await sleep(1.5 * WINDOW_MS);
    slow.pause();
    const outcomes = begin(sessions);
    // The first tries are given up all at once, which opens the breaker; the second ones are under way when it goes on.
    await sleep(TRY_MS + 600);
    slow.resume();
    const refused = (await outcomes).filter(({ code }) => code !== undefined);
    assert.deepEqual(refused, [], `${mode}: ${log.join('\n')}`);
    await until('the breaker has opened', async () =>
      log.some((line) => /the circuit breaker is open/.test(line)),
    );
    const longest = Math.max(...(await outcomes).map(({ ms }) => ms));
    t.diagnostic(`${mode}: the longest took ${Math.round(longest)} ms`);
    assert.ok(longest > TRY_MS - 500, 'nothing was late');
    assert.ok(longest < OPERATION_MS + 1_000, `${longest} ms`);
  }

  for (const mode of MODES) {
    it(`carries out what was begun, though the breaker opened meanwhile: ${mode}`, (t) =>
      keepsItsTries(t, mode));
  }
});
