/** The suite on the built package's stores on servers. */
import { after, before } from 'node:test';
import { MongoClient } from 'mongodb';
import { put } from '../conformance/put.js';
import { SERVER_STORES } from '../conformance/stores.js';
import {
  describeWith,
  type RedisCluster,
  sharedMongo,
  sharedRedis,
  startRedisCluster,
} from '../support/services.js';

/** Few, because a process that loads Baileys takes its time; `__test__/crash` and `fight.test.ts` kill more. */
const KILLS = 2;

for (const row of SERVER_STORES) {
  describeWith(row.needs, row.name, () => {
    const { env } = process;
    let cluster: RedisCluster | undefined;
    before(async () => {
      if (row.cluster === true) {
        cluster = await startRedisCluster();
        const nodes = cluster.nodes.map(({ host, port }) => `${host}:${port}`);
        env.BAILEYS_VAULT_TEST_CLUSTER = `redis+cluster://${nodes.join(',')}`;
      } else if (row.needs.includes('redis')) {
        env.BAILEYS_VAULT_TEST_REDIS = await sharedRedis();
      }
      if (row.needs.includes('mongo')) {
        env.BAILEYS_VAULT_TEST_MONGO = await sharedMongo();
        env.BAILEYS_VAULT_TEST_DATABASE = `conformance_${process.pid}`;
      }
    });
    after(async () => {
      await cluster?.stop();
      if (row.needs.includes('mongo')) {
        const client = new MongoClient(env.BAILEYS_VAULT_TEST_MONGO as string);
        await client.db(env.BAILEYS_VAULT_TEST_DATABASE as string).dropDatabase();
        await client.close();
      }
    });
    put(row, KILLS);
  });
}
