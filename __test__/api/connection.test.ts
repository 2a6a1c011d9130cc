import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { FencedError } from '../../lib/errors.js';
import type { NativeCoreClass } from '../../lib/native/abi.js';
import { CoreThread } from '../../lib/native/thread.js';
import { resolveHybridHook } from '../../lib/options/servers.js';
import { Connection } from '../../lib/store/connection.js';
import { Session } from '../../lib/store/session.js';

const STORE = 7;
const SESSION = 3;

/** A core that opens what it is asked to, notes the rest, and says what the test makes it say. */
class Scripted {
  readonly calls: unknown[][] = [];
  private requests = 0;

  constructor(private readonly deliver: (batch: Buffer) => void) {}

  openStore(config: string, masterKey: Buffer | null, previous: Buffer[]): number {
    this.calls.push(['openStore', JSON.parse(config), masterKey, previous]);
    return this.answer({ store: STORE, warnings: ['eviction is on'] });
  }

  openSession(store: number, options: string): number {
    this.calls.push(['openSession', store, JSON.parse(options)]);
    return this.answer({ session: SESSION, version: 0 });
  }

  closeSession = (session: number): number => this.note('closeSession', session);
  closeStore = (store: number): number => this.note('closeStore', store);
  queueDone = (request: number, error: string | null): number => this.note('queueDone', request, error);

  say(event: object): void {
    this.deliver(this.frame(0, 2, 3, JSON.stringify(event)));
  }

  private note(...call: unknown[]): number {
    this.calls.push(call);
    return this.later(0, '');
  }

  private answer(json: object): number {
    return this.later(3, JSON.stringify(json));
  }

  private later(kind: number, payload: string): number {
    this.requests += 1;
    const batch = this.frame(this.requests, 0, kind, payload);
    setImmediate(() => this.deliver(batch));
    return this.requests;
  }

  private frame(request: number, status: number, kind: number, payload: string): Buffer {
    const header = Buffer.alloc(10);
    header.writeUInt32LE(request, 0);
    header.writeUInt8(status, 4);
    header.writeUInt8(kind, 5);
    header.writeUInt32LE(Buffer.byteLength(payload), 6);
    return Buffer.concat([header, Buffer.from(payload)]);
  }
}

async function setUp(options: object = {}, section: object = {}) {
  const logged: unknown[][] = [];
  const log = (level: string) => (message: string) => logged.push([level, message]);
  const settings = resolveHybridHook({
    sessionId: 's',
    hybrid: { redisUrl: 'redis://h', mongoUrl: 'mongodb://h', masterKey: Buffer.alloc(32, 1), ...section },
    logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    ...options,
  });
  const thread = new CoreThread(Scripted as unknown as NativeCoreClass);
  const core = thread.core as unknown as Scripted;
  const connection = await Connection.open(settings, thread);
  const session = await Session.open(connection, settings, 's', settings.fencingToken);
  return { core, connection, session, logged };
}

const LEASE_LOST = {
  event: 'leaseLost',
  session: SESSION,
  sessionId: 's',
  error: { code: 'FENCED', message: 'a newer owner', layer: 'redis', sessionId: 's' },
};

describe('opening', () => {
  it('hands the key over beside the configuration, and the fencing token with the session', async () => {
    const { core, logged } = await setUp({ fencingToken: 9, openTimeout: 50 });
    const [store, session] = core.calls;
    assert.deepEqual(store?.[2], Buffer.alloc(32, 1));
    assert.deepEqual(session, ['openSession', STORE, { sessionId: 's', openTimeout: 50, fencingToken: 9 }]);
    assert.deepEqual(logged, [['warn', 'baileys-vault: eviction is on']]);
  });
});

describe('a lost lease', () => {
  it('reaches onLeaseLost with the reason, and the log', async () => {
    const lost: unknown[] = [];
    const { core, logged } = await setUp({ onLeaseLost: (error: unknown) => lost.push(error) });
    core.say({ ...LEASE_LOST, session: SESSION + 1 });
    assert.equal(lost.length, 0);
    core.say(LEASE_LOST);
    assert.equal(lost.length, 1);
    assert.ok(lost[0] instanceof FencedError);
    assert.equal(logged.at(-1)?.[0], 'error');
  });

  it('does not harm others when onLeaseLost throws', async () => {
    const { core, logged } = await setUp({
      onLeaseLost: () => {
        throw new Error('the program failed');
      },
    });
    assert.doesNotThrow(() => core.say(LEASE_LOST));
    assert.match(String(logged.at(-1)?.[1]), /onLeaseLost threw/);
  });

  it('is of no interest after closing', async () => {
    const lost: unknown[] = [];
    const { core, session, connection } = await setUp({ onLeaseLost: (error: unknown) => lost.push(error) });
    await session.close();
    await connection.close();
    core.say(LEASE_LOST);
    assert.deepEqual(lost, []);
    assert.deepEqual(core.calls.slice(2), [
      ['closeSession', SESSION],
      ['closeStore', STORE],
    ]);
  });
});

describe('log events', () => {
  it('go to the logger of the store they are about, and of no store to the first', async () => {
    const { core, logged } = await setUp();
    core.say({ event: 'log', level: 'warn', message: 'mine', store: STORE });
    core.say({ event: 'log', level: 'warn', message: 'of another', store: STORE + 1 });
    core.say({ event: 'log', level: 'info', message: 'of nobody' });
    assert.deepEqual(logged.slice(1), [
      ['warn', 'baileys-vault: mine'],
      ['info', 'baileys-vault: of nobody'],
    ]);
  });
});

describe('jobs', () => {
  const JOB = {
    event: 'queue',
    store: STORE,
    request: 5,
    jobName: 'persist',
    sessionId: 's',
    version: 2,
    fencingToken: 4,
    timestamp: 6,
    payloadBase64: 'c2VhbGVk',
  };

  it('go to the queue, which then has them', async () => {
    const added: unknown[][] = [];
    const queue = { add: async (...job: unknown[]) => void added.push(job), close: async () => {} };
    const { core } = await setUp({}, { queue, enableWriteBehind: true });
    core.say(JOB);
    await new Promise(setImmediate);
    const data = { sessionId: 's', version: 2, fencingToken: 4, timestamp: 6, sealed: 'c2VhbGVk' };
    assert.deepEqual(added, [['persist', data]]);
    assert.deepEqual(core.calls.at(-1), ['queueDone', 5, null]);
  });

  it('are given back with the reason when the queue refuses them', async () => {
    const add = async () => {
      throw new Error('queue is full');
    };
    const { core } = await setUp({}, { queue: { add, close: async () => {} }, enableWriteBehind: true });
    core.say(JOB);
    await new Promise(setImmediate);
    assert.deepEqual(core.calls.at(-1), ['queueDone', 5, 'queue is full']);
  });
});

describe('handles that were dropped', () => {
  it('are let go of once they are collected, and those in use are not', () => {
    const path = mkdtempSync(join(tmpdir(), 'vault-dropped-'));
    const body = `
      const vault = require(${JSON.stringify(join(__dirname, '..', '..', 'lib', 'index.ts'))});
      const open = (sessionId) => vault.useHybridAuthState({ sessionId, embedded: { path: ${JSON.stringify(path)} } });
      (async () => {
        const { state, store } = await open('kept');
        await (async () => { await (await open('dropped')).saveCreds(); })();
        const before = store.stats().openSessions;
        for (let turn = 0; turn < 2000 && store.stats().openSessions > 1; turn++) {
          globalThis.gc();
          await new Promise(setImmediate);
        }
        await state.keys.set({ 'lid-mapping': { a: 'b' } });
        console.log(before, store.stats().openSessions);
        await store.close();
      })();
    `;
    const args = ['--expose-gc', '--import', 'tsx', '--input-type=commonjs', '-e', body];
    const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
    rmSync(path, { recursive: true, force: true });
    assert.equal(stdout, '2 1\n', stderr);
  });
});
