/** The hybrid store with Redis behind Sentinel and as a cluster: nodes fail under load, and sessions change hands. */
import assert from 'node:assert/strict';
import { after, before, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import {
  describeWith,
  type RedisCluster,
  type RedisSentinel,
  type Server,
  startMongo,
  startRedisCluster,
  startRedisSentinel,
  until,
} from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

/** Enough for every node of a cluster to have some. */
const SESSIONS = 20;
/** Longer than a lease, in ms. */
const STANDSTILL_MS = 12_000;
const MODES = ['write-through', 'write-behind'] as const;

const hosts = (nodes: readonly Server[]): string =>
  nodes.map(({ host, port }) => `${host}:${port}`).join(',');

async function on<T>(node: Server, work: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(node.url);
  try {
    return await work(client);
  } finally {
    client.disconnect();
  }
}

async function startLoads(t: TestContext, at: (mode: Mode) => Place): Promise<Load[]> {
  const loads: Load[] = [];
  for (const mode of MODES) loads.push(await Load.start(t, at(mode), { sessions: SESSIONS }));
  return loads;
}

const goOn = (loads: readonly Load[], what?: string) =>
  Promise.all(loads.map((load) => load.goesOn(what))).then(() => {});

/** The sessions go to this process; nothing that was acknowledged is missing. */
async function handOver(t: TestContext, fault: string, loads: readonly Load[]): Promise<void> {
  const { OPERATION_TIMEOUT } = await opening();
  for (const load of loads) {
    load.expectTyped();
    const lost = await load.countLost();
    t.diagnostic(
      `${fault} | ${load.place.mode} | acknowledged ${load.acknowledged} | lost ${lost} | longest wait ` +
        `${load.longestWait} ms | refused ${JSON.stringify(load.codes())}`,
    );
    assert.equal(lost, 0, `${load.place.mode}: acknowledged writes are gone`);
    assert.deepEqual([...load.lost], [], `${load.place.mode}: leases were lost`);
    assert.ok(load.longestWait <= 3 * OPERATION_TIMEOUT, `${load.place.mode}: ${load.longestWait} ms`);
  }
}

async function stopAll(loads: readonly Load[]): Promise<void> {
  const complaints = (await Promise.all(loads.map((load) => load.stop()))).flat();
  assert.deepEqual(
    complaints.filter((complaint) => !complaint.endsWith('TIMEOUT')),
    [],
  );
}

describeWith(['redis', 'ownMongo'], 'hybrid behind Sentinel', () => {
  let mongo: Server;
  before(async () => {
    mongo = await startMongo();
  });
  after(() => mongo.stop());

  const at =
    (sentinel: RedisSentinel) =>
    (mode: Mode): Place => ({
      mode,
      redisUrl: `redis+sentinel://${hosts(sentinel.sentinels)}/${sentinel.name}`,
      mongoUrl: mongo.url,
      database: 'sentinel',
    });

  async function failOver(sentinel: RedisSentinel): Promise<void> {
    await sentinel.master.kill();
    await until(
      'the replica is the master',
      async () => (await sentinel.masterPort()) === sentinel.replica.port,
    );
    await until('it takes writes', () =>
      on(sentinel.replica, async (client) => (await client.info('replication')).includes('role:master')),
    );
  }

  it('a master is killed under load: the owners go on, and hand over', async (t) => {
    const sentinel = await startRedisSentinel({ persist: true });
    t.after(() => sentinel.stop());
    const loads = await startLoads(t, at(sentinel));
    await goOn(loads);
    await failOver(sentinel);
    await goOn(loads, 'it goes on with the new master');
    // The copies, and what may come into outboxes, are at the new master.
    const copies = () => on(sentinel.replica, (client) => client.keys('*:hot'));
    await until('the copies are there', async () => (await copies()).length === loads.length * SESSIONS);
    await stopAll(loads);
    await handOver(t, 'master killed', loads);
  });

  it('a master is killed while MongoDB is away: what the owners acknowledged is brought there', async (t) => {
    const sentinel = await startRedisSentinel({ persist: true });
    t.after(() => sentinel.stop());
    const loads = await startLoads(t, at(sentinel));
    const [through, behind] = loads as [Load, Load];
    await mongo.kill();
    await behind.goesOn('it goes on without MongoDB');
    await through.until('writes are refused', () => through.failures.length > 0);
    await failOver(sentinel);
    await mongo.restart();
    await goOn(loads, 'it goes on with both');
    await stopAll(loads);
    await handOver(t, 'master killed, MongoDB away', loads);
  });

  it('owners are killed after a fail-over, with what MongoDB does not have in the new master', async (t) => {
    const sentinel = await startRedisSentinel({ persist: true });
    t.after(() => sentinel.stop());
    const loads = await startLoads(t, at(sentinel));
    await failOver(sentinel);
    await goOn(loads, 'it goes on with the new master');
    const [, behind] = loads as [Load, Load];
    // Until every owner has its outbox there again.
    const outboxes = () => on(sentinel.replica, (client) => client.keys('*:outbox'));
    await until('outboxes are there', async () => (await outboxes()).length === loads.length * SESSIONS);
    await goOn(loads);
    await mongo.kill();
    await behind.goesOn('it goes on without MongoDB');
    for (const load of loads) await load.crash();
    await mongo.restart();
    await handOver(t, 'master killed, then the owners', loads);
  });
});

/** Those of the sessions whose keys are on other nodes. */
async function notOn(node: Server, sessions: readonly string[]): Promise<readonly string[]> {
  return on(node, async (client) => {
    const mine = new Set<number>();
    const slots = await client.cluster('SLOTS');
    for (const [first, last, owner] of slots) {
      if (owner?.[1] === node.port) for (let slot = first; slot <= last; slot++) mine.add(slot);
    }
    const others: string[] = [];
    for (const session of sessions) {
      if (!mine.has(await client.cluster('KEYSLOT', `bv:{${session}}`))) others.push(session);
    }
    assert.ok(others.length > 0 && others.length < sessions.length, 'sessions are on both kinds of nodes');
    return others;
  });
}

describeWith(['redis', 'ownMongo'], 'hybrid with a cluster', () => {
  let mongo: Server;
  before(async () => {
    mongo = await startMongo();
  });
  after(() => mongo.stop());

  const at =
    (cluster: RedisCluster) =>
    (mode: Mode): Place => ({
      mode,
      redisUrl: `redis+cluster://${hosts(cluster.nodes)}`,
      mongoUrl: mongo.url,
      database: 'cluster',
    });

  /** Fails unless each node has copies and outboxes of some sessions. */
  async function everyNodeServes(cluster: RedisCluster): Promise<void> {
    for (const node of cluster.nodes) {
      for (const kind of ['hot', 'outbox']) {
        const keys = await on(node, (client) => client.keys(`*:${kind}`));
        assert.ok(keys.length > 0, `no ${kind} on the node at ${node.port}`);
      }
    }
  }

  for (const [coverage, what] of [
    ['no', 'the others serve'],
    ['yes', 'the others refuse'],
  ] as const) {
    it(`a node is killed under load while ${what}, and comes back: the owners go on, and hand over`, async (t) => {
      const config = { 'cluster-require-full-coverage': coverage };
      const cluster = await startRedisCluster({ persist: true, config });
      t.after(() => cluster.stop());
      const loads = await startLoads(t, at(cluster));
      await everyNodeServes(cluster);
      const [node] = cluster.nodes as [Server];
      await node.kill();
      await goOn(loads, 'it goes on without the node');
      await sleep(3_000);
      await goOn(loads, 'it goes on without the node still');
      await node.restart();
      await goOn(loads, 'it goes on with the node');
      await stopAll(loads);
      await handOver(t, `node killed, ${what}`, loads);
    });
  }

  it('a node stands still for longer than a lease: the sessions of the others do not notice', async (t) => {
    const config = { 'cluster-require-full-coverage': 'no' };
    const cluster = await startRedisCluster({ persist: true, config });
    t.after(() => cluster.stop());
    const loads = await startLoads(t, at(cluster));
    const alone = await Load.start(t, at(cluster)('redis'), { sessions: SESSIONS });
    const [node] = cluster.nodes as [Server];
    const others = new Map<Load, readonly string[]>();
    for (const load of [...loads, alone]) others.set(load, await notOn(node, load.sessions));
    node.pause();
    const until = Date.now() + STANDSTILL_MS;
    const healthy = async ([load, sessions]: [Load, readonly string[]]): Promise<void> => {
      while (Date.now() < until) await load.goesOn('the sessions of other nodes go on', sessions);
      const refused = load.failures.filter(({ session }) => sessions.includes(session));
      assert.deepEqual(refused, [], `${load.place.mode}: sessions of nodes that answer`);
    };
    await Promise.all([...others].map(healthy));
    await goOn(loads, 'it goes on without the node');
    node.resume();
    await goOn([...loads, alone], 'it goes on with the node');
    await stopAll([...loads, alone]);
    await handOver(t, 'node stood still', [...loads, alone]);
  });

  it('owners are killed with what MongoDB does not have on every node', async (t) => {
    const cluster = await startRedisCluster({ persist: true });
    t.after(() => cluster.stop());
    const loads = await startLoads(t, at(cluster));
    const [, behind] = loads as [Load, Load];
    await everyNodeServes(cluster);
    await mongo.kill();
    await behind.goesOn('it goes on without MongoDB');
    for (const load of loads) await load.crash();
    for (const node of cluster.nodes) {
      await node.kill();
      await node.restart();
    }
    await mongo.restart();
    await handOver(t, 'owners and all nodes killed', loads);
  });
});
