import { Redis } from 'ioredis';
import { type RedisOptions, redisSpec } from './redis';
import { Server } from './server';
import { until } from './wait';

const NODES = 3;
const SLOTS = 16_384;

/** A Redis Cluster whose nodes are masters with a third of the slots each; there are no replicas. */
export interface RedisCluster {
  readonly nodes: readonly Server[];
  /** One `redis://` URL per node. */
  readonly urls: readonly string[];
  /** Stops all nodes. */
  stop(): Promise<void>;
}

async function clusterIsWhole(client: Redis): Promise<boolean> {
  const info = String(await client.cluster('INFO'));
  // Where a part may serve alone, the state is `ok` before a node has heard of all slots.
  return ['cluster_state:ok', `cluster_known_nodes:${NODES}`, `cluster_slots_assigned:${SLOTS}`].every(
    (line) => info.includes(line),
  );
}

/** Starts three nodes, shares the slots out and waits until every node agrees that the cluster is whole. */
export async function startRedisCluster(
  options: Pick<RedisOptions, 'persist' | 'appendFsync' | 'config'> = {},
): Promise<RedisCluster> {
  const extra = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
  const nodes: Server[] = [];
  // One after the other: each looks for its own free port.
  for (let i = 0; i < NODES; i++) nodes.push(await Server.start(redisSpec(options, extra)));

  const auth = options.config?.requirepass;
  const clients = nodes.map(
    ({ host, port }) => new Redis({ host, port, ...(auth === undefined ? {} : { password: auth }) }),
  );
  try {
    const firstSlot = (node: number): number => Math.ceil((node * SLOTS) / NODES);
    await Promise.all(
      clients.map((client, node) => {
        const slots = Array.from(
          { length: firstSlot(node + 1) - firstSlot(node) },
          (_, i) => firstSlot(node) + i,
        );
        return client.call('CLUSTER', 'ADDSLOTS', ...slots);
      }),
    );
    // Two nodes with the same epoch may quarrel over slots later on.
    await Promise.all(clients.map((client, node) => client.call('CLUSTER', 'SET-CONFIG-EPOCH', node + 1)));
    const [first, ...others] = clients as [Redis, ...Redis[]];
    for (const { options: at } of others) await first.cluster('MEET', at.host as string, at.port as number);
    await until('every node of the Redis Cluster sees it whole', async () =>
      (await Promise.all(clients.map(clusterIsWhole))).every(Boolean),
    );
  } finally {
    for (const client of clients) client.disconnect();
  }
  return {
    nodes,
    urls: nodes.map(({ url }) => url),
    stop: async () => {
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
}
