import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { MongoClient } from 'mongodb';
import { findProgram } from './programs';
import { Server, type ServerPlace, type ServerSpec } from './server';
import { buildStandIn, standInCommand } from './stand-in';

const REPLICA_SET = 'vault';

async function acceptsConnections(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function isWritable(port: number, initiate: boolean): Promise<boolean> {
  if (!(await acceptsConnections(port))) return false;
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: 2_000,
  });
  try {
    const admin = client.db('admin');
    const hello = await admin.command({ hello: 1 });
    if (initiate && hello.setName === undefined) {
      const members = [{ _id: 0, host: `127.0.0.1:${port}` }];
      await admin.command({ replSetInitiate: { _id: REPLICA_SET, members } });
      return false;
    }
    return hello.isWritablePrimary === true || hello.ismaster === true;
  } catch {
    return false;
  } finally {
    await client.close();
  }
}

function mongodSpec(command: string): ServerSpec {
  return {
    name: 'mongod',
    command,
    ready: (port) => isWritable(port, true),
    url: (host, port) => `mongodb://${host}:${port}/?replicaSet=${REPLICA_SET}`,
    arguments: ({ port, dir }) => [
      ...['--port', String(port), '--bind_ip', '127.0.0.1', '--dbpath', dir],
      ...['--replSet', REPLICA_SET, '--wiredTigerCacheSizeGB', '0.25'],
    ],
  };
}

/** Three real servers as one replica set. */
export interface MongoReplicaSet {
  readonly url: string;
  readonly members: readonly Server[];
  /** The member that takes writes now. */
  primary(): Promise<Server>;
  stop(): Promise<void>;
}

/** Starts a replica set of three `mongod`, which must be on PATH. */
export async function startMongoReplicaSet(): Promise<MongoReplicaSet> {
  const spec = { ...mongodSpec('mongod'), ready: acceptsConnections };
  const members = await Promise.all([1, 2, 3].map(() => Server.start(spec, {})));
  const hosts = members.map(({ port }) => `127.0.0.1:${port}`);
  const url = `mongodb://${hosts.join(',')}/?replicaSet=${REPLICA_SET}`;
  const direct = new MongoClient(`mongodb://${hosts[0]}/?directConnection=true`);
  try {
    const config = { _id: REPLICA_SET, members: hosts.map((host, index) => ({ _id: index, host })) };
    await direct.db('admin').command({ replSetInitiate: config });
  } finally {
    await direct.close();
  }
  const primary = async (): Promise<Server> => {
    const client = new MongoClient(url, { serverSelectionTimeoutMS: 30_000 });
    try {
      const { me } = await client.db('admin').command({ hello: 1 }, { readPreference: 'primary' });
      const found = members.find(({ port }) => me === `127.0.0.1:${port}`);
      if (found === undefined) throw new Error(`the replica set names a member that is not ours: ${me}`);
      return found;
    } finally {
      await client.close();
    }
  };
  await primary();
  return {
    url,
    members,
    primary,
    stop: async () => void (await Promise.all(members.map((member) => member.stop()))),
  };
}

function standInSpec(): ServerSpec {
  buildStandIn();
  const standIn = standInCommand();
  return {
    name: 'mongo-stand-in',
    command: standIn.command,
    ready: (port) => isWritable(port, false),
    url: (host, port) => `mongodb://${host}:${port}`,
    arguments: ({ port, dir }) => standIn.arguments('127.0.0.1', port, join(dir, 'data.mv')),
  };
}

/**
 * Starts a MongoDB server of our own: a `mongod` from PATH as a replica set of one, or else the stand-in, which
 * keeps acknowledged writes through `kill` too but knows no transactions, update pipelines, elections or TTL.
 */
export function startMongo(options: ServerPlace = {}): Promise<Server> {
  const mongod = findProgram('mongod');
  return Server.start(mongod === undefined ? standInSpec() : mongodSpec(mongod), options);
}
