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
