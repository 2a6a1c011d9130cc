import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type RedisOptions, redisSpec, startRedis } from './redis';
import { Server } from './server';
import { until } from './wait';

const MASTER_NAME = 'vault';
const SENTINELS = 3;
const QUORUM = 2;

/** A master, its replica and three sentinels that watch them. */
export interface RedisSentinel {
  /** What the sentinels call the master. */
  readonly name: string;
  /** The node that was the master at the start. */
  readonly master: Server;
  /** The node that was the replica at the start. */
  readonly replica: Server;
  readonly sentinels: readonly Server[];
  /** One `redis://` URL per sentinel. */
  readonly urls: readonly string[];
  /** Port of the current master, by the word of a sentinel that is up. */
  masterPort(): Promise<number>;
  /** Stops everything. */
  stop(): Promise<void>;
}

function startSentinel(master: Server, downAfterMs: number): Promise<Server> {
  const spec = redisSpec({});
  return Server.start({
    ...spec,
    name: 'sentinel',
    arguments: ({ port, dir }) => {
      const config = join(dir, 'sentinel.conf');
      const lines = [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir "${dir}"`,
        `sentinel monitor ${MASTER_NAME} ${master.host} ${master.port} ${QUORUM}`,
        `sentinel down-after-milliseconds ${MASTER_NAME} ${downAfterMs}`,
        `sentinel failover-timeout ${MASTER_NAME} 5000`,
        `sentinel parallel-syncs ${MASTER_NAME} 1`,
      ];
      // A sentinel rewrites its file as it learns; after a restart it goes on from what it knew.
      try {
        writeFileSync(config, `${lines.join('\n')}\n`, { flag: 'wx' });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      return [config, '--sentinel'];
    },
  });
}

async function seesEveryone(sentinel: Redis): Promise<boolean> {
  const replicas = (await sentinel.call('SENTINEL', 'REPLICAS', MASTER_NAME)) as string[][];
  const others = (await sentinel.call('SENTINEL', 'SENTINELS', MASTER_NAME)) as string[][];
  const flags = replicas[0]?.[replicas[0].indexOf('flags') + 1];
  return flags === 'slave' && others.length === SENTINELS - 1;
}

/** Starts all five processes and waits until each sentinel knows the replica and the other sentinels. */
export async function startRedisSentinel(
  options: Pick<RedisOptions, 'persist' | 'appendFsync'> & {
    /** Silence after which a sentinel holds the master for down. Default 1,000 ms. */
    readonly downAfterMs?: number;
  } = {},
): Promise<RedisSentinel> {
  const master = await startRedis(options);
  const replica = await Server.start(redisSpec(options, ['--replicaof', master.host, String(master.port)]));
  const replicaClient = new Redis(replica.port, replica.host);
  try {
    await until('the replica follows its master', async () =>
      (await replicaClient.info('replication')).includes('master_link_status:up'),
    );
  } finally {
    replicaClient.disconnect();
  }

  const sentinels: Server[] = [];
  for (let i = 0; i < SENTINELS; i++) {
    sentinels.push(await startSentinel(master, options.downAfterMs ?? 1_000));
  }
  const clients = sentinels.map(({ host, port }) => new Redis({ host, port }));
  try {
    await until('the sentinels know each other and the replica', async () =>
      (await Promise.all(clients.map(seesEveryone))).every(Boolean),
    );
  } finally {
    for (const client of clients) client.disconnect();
  }

  return {
    name: MASTER_NAME,
    master,
    replica,
    sentinels,
    urls: sentinels.map(({ url }) => url),
    masterPort: async () => {
      const up = sentinels.find(({ running }) => running);
      if (up === undefined) throw new Error('no sentinel is running');
      const client = new Redis(up.port, up.host);
      try {
        const address = (await client.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME)) as string[];
        return Number(address[1]);
      } finally {
        client.disconnect();
      }
    },
    stop: async () => {
      // Sentinels first, so that they do not start a failover while the rest goes down.
      await Promise.all(sentinels.map((sentinel) => sentinel.stop()));
      await Promise.all([master, replica].map((node) => node.stop()));
    },
  };
}
