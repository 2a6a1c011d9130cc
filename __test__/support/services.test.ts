import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { Cluster, Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import {
  describeWith,
  type RedisCluster,
  type RedisSentinel,
  type Server,
  sharedMongo,
  sharedRedis,
  startMongo,
  startRedis,
  startRedisCluster,
  startRedisSentinel,
  until,
} from './services';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function withRedis<T>(port: number, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(port, '127.0.0.1');
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

describeWith('redis', 'a Redis server', () => {
  let redis: Server;
  before(async () => {
    redis = await startRedis({ persist: true });
  });
  after(() => redis.stop());

  it('keeps acknowledged writes through SIGKILL, on the same port', async () => {
    const { port, pid } = redis;
    await withRedis(port, (client) => client.set('kept', 'yes'));
    await redis.kill('SIGKILL');
    assert.equal(redis.running, false);
    assert.equal(isAlive(pid), false);
    await redis.restart();
    assert.equal(redis.port, port);
    assert.notEqual(redis.pid, pid);
    assert.equal(await withRedis(port, (client) => client.get('kept')), 'yes');
  });

  it('comes back empty when wiped', async () => {
    await withRedis(redis.port, (client) => client.set('gone', 'yes'));
    await redis.restart({ wipe: true });
    assert.equal(await withRedis(redis.port, (client) => client.dbsize()), 0);
  });

  it('answers nothing while paused, and answers what was asked meanwhile when resumed', async () => {
    await withRedis(redis.port, async (client) => {
      await client.ping();
      redis.pause();
      const answer = client.ping();
      const early = await Promise.race([
        answer,
        new Promise((resolve) => setTimeout(resolve, 150, 'silence')),
      ]);
      assert.equal(early, 'silence');
      redis.resume();
      assert.equal(await answer, 'PONG');
    });
  });

  it('can be stopped while paused', async () => {
    redis.pause();
    await redis.stop();
    assert.equal(redis.running, false);
    await redis.restart();
  });

  it('takes further settings', async () => {
    const locked = await startRedis({ config: { requirepass: 'open sesame' } });
    const client = new Redis({ host: locked.host, port: locked.port, password: 'open sesame' });
    assert.equal(await client.ping(), 'PONG');
    client.disconnect();
    await locked.stop();
  });

  it('says why it does not start', async () => {
    await assert.rejects(startRedis({ config: { 'no-such-setting': '1' } }), /no-such-setting/);
  });

  it('is shared between tests', async () => {
    const client = new Redis(await sharedRedis());
    assert.equal(await client.ping(), 'PONG');
    client.disconnect();
  });

  it('does not outlive a process that is killed, even when paused', async () => {
    const script = `
      const { startRedis } = require(${JSON.stringify(join(__dirname, 'services.ts'))});
      startRedis().then((redis) => { redis.pause(); console.log(redis.pid); setInterval(() => {}, 1000); });`;
    const child = spawn(process.execPath, ['--import', 'tsx', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    assert.equal(isAlive(pid), true);
    child.kill('SIGKILL');
    await until('the orphaned server is gone', async () => !isAlive(pid));
  });
});

describeWith('redis', 'a Redis Cluster', () => {
  let cluster: RedisCluster;
  before(async () => {
    cluster = await startRedisCluster({ persist: true });
  });
  after(() => cluster.stop());

  it('spreads all slots over its nodes', async () => {
    const client = new Cluster(cluster.nodes.map(({ host, port }) => ({ host, port })));
    const keys = Array.from({ length: 60 }, (_, i) => `key-${i}`);
    await Promise.all(keys.map((key) => client.set(key, key)));
    assert.deepEqual(await Promise.all(keys.map((key) => client.get(key))), keys);
    client.disconnect();
    for (const node of cluster.nodes) {
      assert.ok((await withRedis(node.port, (direct) => direct.dbsize())) > 0);
    }
  });

  it('takes a killed node back with its slots and data', async () => {
    const [node] = cluster.nodes as [Server];
    const size = await withRedis(node.port, (direct) => direct.dbsize());
    await node.kill();
    await node.restart();
    await until('the node is part of the cluster again', async () =>
      String(await withRedis(node.port, (direct) => direct.cluster('INFO'))).includes('cluster_state:ok'),
    );
    assert.equal(await withRedis(node.port, (direct) => direct.dbsize()), size);
  });
});

describeWith('redis', 'Redis behind Sentinel', () => {
  let setup: RedisSentinel;
  before(async () => {
    setup = await startRedisSentinel();
  });
  after(() => setup.stop());

  it('answers with the master, and with the replica after a failover', async () => {
    assert.equal(await setup.masterPort(), setup.master.port);
    const client = new Redis({
      sentinels: setup.sentinels.map(({ host, port }) => ({ host, port })),
      name: setup.name,
    });
    client.on('error', () => {});
    await client.set('a', '1');
    await client.wait(1, 5_000);
    await setup.master.kill();
    await until(
      'the sentinels have made the replica the master',
      async () => (await setup.masterPort()) === setup.replica.port,
    );
    assert.equal(await client.get('a'), '1');
    client.disconnect();
  });
});

describeWith('ownMongo', 'a MongoDB server', () => {
  let mongo: Server;
  let client: MongoClient;
  before(async () => {
    mongo = await startMongo();
    client = new MongoClient(mongo.url);
  });
  after(async () => {
    await client.close();
    await mongo.stop();
  });

  it('counts concurrent increments exactly', async () => {
    const counters = client.db('counting').collection<{ _id: string; n: number }>('counters');
    await Promise.all(
      Array.from({ length: 100 }, () =>
        counters.updateOne(
          { _id: 'a' },
          { $inc: { n: 1 } },
          { upsert: true, writeConcern: { w: 'majority' } },
        ),
      ),
    );
    assert.equal((await counters.findOne({ _id: 'a' }))?.n, 100);
  });

  it('answers the hello command', async () => {
    const hello = await client.db('admin').command({ hello: 1 });
    assert.ok(hello.maxWireVersion >= 9);
  });

  it('keeps every acknowledged write through SIGKILL under load', async () => {
    const kept = client.db('kill').collection<{ _id: number }>('kept');
    for (let round = 0; round < 2; round++) {
      const acknowledged: number[] = [];
      let running = true;
      const writers = Array.from({ length: 8 }, async (_, writer) => {
        for (let i = 0; running; i++) {
          const _id = round * 1_000_000 + writer * 100_000 + i;
          await kept.insertOne({ _id });
          acknowledged.push(_id);
        }
      });
      const ended = Promise.allSettled(writers);
      await until('there are acknowledged writes', async () => acknowledged.length >= 200);
      await mongo.kill('SIGKILL');
      running = false;
      await mongo.restart();
      await ended;
      const found = await kept.distinct('_id', { _id: { $in: acknowledged } });
      assert.equal(found.length, acknowledged.length);
    }
  });

  it('comes back empty when wiped', async () => {
    await client.db('wiped').collection('a').insertOne({ a: 1 });
    await mongo.restart({ wipe: true });
    assert.equal(await client.db('wiped').collection('a').countDocuments(), 0);
  });
});

describeWith('mongo', 'the shared MongoDB server', () => {
  it('answers', async () => {
    const client = new MongoClient(await sharedMongo());
    assert.equal((await client.db('admin').command({ ping: 1 })).ok, 1);
    await client.close();
  });
});
