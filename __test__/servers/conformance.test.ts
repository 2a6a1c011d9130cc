/** The suite on the built package's stores on servers. */
import { after, before } from 'node:test';
import { MongoClient } from 'mongodb';
import { put } from '../conformance/put.js';
import { SERVER_STORES } from '../conformance/stores.js';
import {
  describeWith,
  type RedisCluster,
  type Server,
  sharedMongo,
  sharedPostgres,
  sharedRedis,
  sql,
  startPgBouncer,
  startRedisCluster,
} from '../support/services.js';

/** Few, because a process that loads Baileys takes its time; `__test__/crash` and `fight.test.ts` kill more. */
const KILLS = 2;

const portOf = (url: string | undefined): number => Number(new URL(url as string).port);

for (const row of SERVER_STORES) {
  describeWith(row.needs, row.name, () => {
    const { env } = process;
    let cluster: RedisCluster | undefined;
    let bouncer: Server | undefined;
    before(async () => {
      if (row.cluster === true) {
        cluster = await startRedisCluster();
        const nodes = cluster.nodes.map(({ host, port }) => `${host}:${port}`);
        env.BAILEYS_VAULT_TEST_CLUSTER = `redis+cluster://${nodes.join(',')}`;
      } else if (row.needs.includes('redis')) {
        env.BAILEYS_VAULT_TEST_REDIS = await sharedRedis();
      }
      if (row.needs.includes('postgres')) {
        env.BAILEYS_VAULT_TEST_POSTGRES = await sharedPostgres();
        env.BAILEYS_VAULT_TEST_SCHEMA = `conformance_${process.pid}_${row.factory}`;
      }
      if (row.needs.includes('pgbouncer')) {
        bouncer = await startPgBouncer({ port: portOf(env.BAILEYS_VAULT_TEST_POSTGRES) });
        env.BAILEYS_VAULT_TEST_PGBOUNCER = bouncer.url;
      }
      if (row.needs.includes('mongo')) {
        env.BAILEYS_VAULT_TEST_MONGO = await sharedMongo();
        env.BAILEYS_VAULT_TEST_DATABASE = `conformance_${process.pid}`;
      }
    });
    after(async () => {
      await cluster?.stop();
      await bouncer?.stop();
      if (row.needs.includes('postgres')) {
        const schema = env.BAILEYS_VAULT_TEST_SCHEMA;
        sql({ port: portOf(env.BAILEYS_VAULT_TEST_POSTGRES) }, `DROP SCHEMA IF EXISTS "${schema}" CASCADE`);
        // The server is shared, and the next row has nothing there.
        delete env.BAILEYS_VAULT_TEST_SCHEMA;
      }
      if (row.needs.includes('mongo')) {
        const client = new MongoClient(env.BAILEYS_VAULT_TEST_MONGO as string);
        await client.db(env.BAILEYS_VAULT_TEST_DATABASE as string).dropDatabase();
        await client.close();
      }
    });
    put(row, KILLS);
  });
}
