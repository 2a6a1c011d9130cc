/** Who wants a session whose owner has acknowledged what MongoDB does not have, and cannot be seen there any more. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, it } from 'node:test';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const LOCK_TTL = 2;
/** In ms; longer than a lease in MongoDB that is not renewed. */
const OPEN_TIMEOUT = 4 * LOCK_TTL * 1_000;

interface Outcome {
  readonly version?: number;
  readonly code?: string;
  readonly message?: string;
  readonly retryable?: boolean;
  readonly holder?: { readonly pid: number };
}

describeWith(['redis', 'ownMongo'], 'a session beside an outbox', () => {
  let redis: Server;
  let mongo: Server;
  let mongoProxy: FaultProxy;

  before(async () => {
    [redis, mongo] = await Promise.all([startRedis({ persist: true }), startMongo()]);
    mongoProxy = await startProxy(mongo.port);
  });
  after(async () => {
    await mongoProxy.close();
    await Promise.all([redis.stop(), mongo.stop()]);
  });

  const direct = (mode: Mode): Place => ({
    mode,
    redisUrl: redis.url,
    mongoUrl: mongo.url,
    database: 'beside',
    lockTtl: LOCK_TTL,
  });

  /** The way of the owner. */
  const proxied = (): Place => ({
    ...direct('write-behind'),
    mongoUrl: mongo.url.replace(`:${mongo.port}`, `:${mongoProxy.port}`),
  });

  async function cutMongo(): Promise<void> {
    await mongoProxy.refuse(true);
    mongoProxy.cutAll();
  }

  /** Another process opens the session. */
  async function opened(mode: Mode, session: string, openTimeout = OPEN_TIMEOUT): Promise<Outcome> {
    const task = JSON.stringify({ place: direct(mode), session, openTimeout });
    const child = spawn(
      process.execPath,
      [join(__dirname, '..', 'situations', 'programs', 'contender.mjs'), task],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const [said] = await Promise.all([text(child.stdout), once(child, 'close')]);
    return JSON.parse(said) as Outcome;
  }

  /** Whoever it is, and whatever it can see, is told that the session has an owner. */
  async function isBusyFor(session: string, pid: number): Promise<void> {
    const [plain, behind, through] = await Promise.all([
      opened('mongo', session),
      opened('write-behind', session),
      opened('write-through', session),
    ]);
    for (const hybrid of [behind, through]) {
      assert.equal(hybrid.code, 'SESSION_BUSY', JSON.stringify(hybrid));
      assert.equal(hybrid.holder?.pid, pid);
    }
    assert.equal(plain.code, 'SESSION_BUSY', JSON.stringify(plain));
    assert.match(String(plain.message), /outbox/);
  }

  it('is busy while its owner goes on without MongoDB', async (t) => {
    const load = await Load.start(t, proxied(), { sessions: 1 });
    const [session] = load.sessions as [string];
    await cutMongo();
    await load.goesOn();
    await isBusyFor(session, load.pid);
    await load.goesOn();
    assert.deepEqual(load.codes(), {});
    await mongoProxy.heal();
    await load.goesOn();
    assert.deepEqual(await load.stop(), []);
    assert.equal(await load.countLost(direct('mongo')), 0, 'a plain store has all of it');
  });

  it('is no new session when its creds are in the outbox alone', async (t) => {
    const { open } = await opening();
    const session = `creds-${process.pid}`;
    const { state, saveCreds, store } = await open(proxied(), session);
    t.after(() => store.close());
    await cutMongo();
    await saveCreds();
    await state.keys.set({ session: { contact: { seq: 1 } as never } });
    await isBusyFor(session, process.pid);
    await mongoProxy.heal();
    await store.close();
    const again = await open(direct('mongo'), session);
    t.after(() => again.store.close());
    assert.equal(again.state.creds.advSecretKey, state.creds.advSecretKey);
    assert.deepEqual(await again.state.keys.get('session', ['contact']), { contact: { seq: 1 } });
  });

  it('is opened with all that was acknowledged once its owner is dead, by who can see the outbox', async (t) => {
    const load = await Load.start(t, proxied(), { sessions: 1 });
    const [session] = load.sessions as [string];
    await cutMongo();
    await load.goesOn();
    await load.crash();
    await mongoProxy.heal();
    const plain = await opened('mongo', session);
    assert.equal(plain.code, 'SESSION_BUSY', JSON.stringify(plain));
    assert.match(String(plain.message), /outbox/);
    assert.equal(await load.countLost(direct('write-through')), 0);
    assert.equal(await load.countLost(direct('mongo')), 0, 'then by a plain store too');
  });

  it('is not opened by anybody, and not anew, while MongoDB is away for all', async (t) => {
    const load = await Load.start(t, direct('write-behind'), { sessions: 1 });
    const [session] = load.sessions as [string];
    await mongo.kill();
    await load.goesOn();
    for (const mode of ['mongo', 'write-behind', 'write-through'] as const) {
      const { code } = await opened(mode, session, 1_000);
      assert.ok(
        ['STORAGE_UNAVAILABLE', 'TIMEOUT', 'CIRCUIT_OPEN', 'SESSION_BUSY'].includes(String(code)),
        `${mode}: ${code}`,
      );
    }
    await load.goesOn();
    await mongo.restart();
    await load.goesOn();
    assert.deepEqual(await load.stop(), []);
    assert.equal(await load.countLost(), 0);
  });
});
