import { once } from 'node:events';
import { connect } from 'node:net';
import { resolve } from 'node:path';
import { CLUSTER_BUS_OFFSET } from './ports';
import { findProgram } from './programs';
import { Server, type ServerPlace, type ServerSpec } from './server';

/** Path of a server to test with instead of the one on PATH: a Valkey, or a Redis of another release. */
export const REDIS_SERVER_VARIABLE = 'BAILEYS_VAULT_REDIS_SERVER';

/** Path of the server program that tests start, if there is one. */
export function redisProgram(): string | undefined {
  const given = process.env[REDIS_SERVER_VARIABLE];
  return given === undefined || given === '' ? findProgram('redis-server', 'valkey-server') : resolve(given);
}

/** How a Redis node keeps its data. */
export interface RedisOptions extends ServerPlace {
  /** Append-only file, fsynced before each answer: acknowledged writes survive `kill`. Default false: memory only. */
  readonly persist?: boolean;
  /** When the append-only file is fsynced. Default `always`. Only with `persist`. */
  readonly appendFsync?: 'always' | 'everysec' | 'no';
  /** Further `redis.conf` settings: `{ 'maxmemory-policy': 'allkeys-lru', requirepass: 'secret' }`. */
  readonly config?: Readonly<Record<string, string>>;
}

/** True when something on `port` answers in the Redis protocol and has finished loading its data. */
async function answersPing(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer] = (await once(socket, 'data', { signal: AbortSignal.timeout(1_000) })) as [Buffer];
    // An error such as NOAUTH comes from a server that is up; LOADING from one that is not yet.
    return !answer.toString().startsWith('-LOADING');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A `redis-server` process with the given settings on top of the ones that all our tests want. */
export function redisSpec(options: RedisOptions, extra: readonly string[] = []): ServerSpec {
  const command = redisProgram();
  if (command === undefined) throw new Error('no redis-server on PATH');
  const config = Object.entries(options.config ?? {}).flatMap(([key, value]) => [`--${key}`, value]);
  return {
    name: 'redis',
    command,
    ready: answersPing,
    url: (host, port) => `redis://${host}:${port}`,
    portOffsets: extra.includes('--cluster-enabled') ? [CLUSTER_BUS_OFFSET] : [],
    arguments: ({ port, dir }) => [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
      ...['--appendonly', options.persist === true ? 'yes' : 'no'],
      ...['--appendfsync', options.appendFsync ?? 'always'],
      // A replica need not wait for others that might want the same snapshot.
      ...['--repl-diskless-sync-delay', '0'],
      ...extra,
      ...config,
    ],
  };
}

/** Starts one standalone `redis-server`. */
export function startRedis(options: RedisOptions = {}): Promise<Server> {
  return Server.start(redisSpec(options), options);
}
