import { createServer } from 'node:net';

// Below the range from which the kernel takes ports for outgoing connections: a server that is down for a
// moment must not find its port taken by somebody's client when it comes back.
const FIRST = 12_000;
const COUNT = 9_000;

/** Redis Cluster nodes talk to each other on their port plus this. */
export const CLUSTER_BUS_OFFSET = 10_000;

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** A port of 127.0.0.1 that nobody listens on, and neither on the same port plus each of `offsets`. */
export async function freePort(offsets: readonly number[] = []): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    const free = await Promise.all([0, ...offsets].map((offset) => isFree(port + offset)));
    if (free.every(Boolean)) return port;
  }
  throw new Error(`no free port between ${FIRST} and ${FIRST + COUNT}`);
}
