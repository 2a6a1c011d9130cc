/** Two servers behind proxies, processes that write to them in every mode, and what has to hold after a fault. */
import assert from 'node:assert/strict';
import { after, afterEach, before, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

/** Of each process. */
export const SESSIONS = 20;
/** Longer than any operation with its retries, in ms. */
export const OUTAGE_MS = 4_000;

interface Row {
  readonly fault: string;
  readonly mode: string;
  readonly acknowledged: number;
  readonly lost: number;
  readonly longestWait: number;
  readonly failures: Record<string, number>;
}

export class FaultBench {
  readonly rows: Row[] = [];
  /** Of most places, in ms. */
  operationTimeout = 0;
  redis!: Server;
  mongo!: Server;
  redisProxy!: FaultProxy;
  mongoProxy!: FaultProxy;

  async setUp(): Promise<void> {
    [this.redis, this.mongo] = await Promise.all([startRedis({ persist: true }), startMongo()]);
    this.redisProxy = await startProxy(this.redis.port);
    this.mongoProxy = await startProxy(this.mongo.port);
    this.operationTimeout = (await opening()).OPERATION_TIMEOUT;
  }

  /** A case that failed halfway is not to take the others with it. */
  async heal(): Promise<void> {
    for (const server of [this.redis, this.mongo]) if (!server.running) await server.restart();
    for (const proxy of [this.redisProxy, this.mongoProxy]) {
      proxy.delay(0);
      await proxy.heal();
    }
  }

  /** Ends everything and prints what was found. */
  async tearDown(): Promise<void> {
    await Promise.all([this.redisProxy.close(), this.mongoProxy.close()]);
    await Promise.all([this.redis.stop(), this.mongo.stop()]);
    const text = this.rows.map(
      ({ fault, mode, acknowledged, lost, longestWait, failures }) =>
        `${fault} | ${mode} | ${acknowledged} | ${lost} | ${longestWait} | ${JSON.stringify(failures)}`,
    );
    console.log(['fault | mode | acknowledged | lost | longest wait, ms | refused', ...text].join('\n'));
  }

  direct(mode: Mode): Place {
    return { mode, redisUrl: this.redis.url, mongoUrl: this.mongo.url, database: 'faults' };
  }

  proxied(mode: Mode): Place {
    return {
      ...this.direct(mode),
      redisUrl: `redis://${this.redisProxy.host}:${this.redisProxy.port}`,
      mongoUrl: this.mongo.url.replace(`:${this.mongo.port}`, `:${this.mongoProxy.port}`),
    };
  }

  /** A process for each place, all of them writing. */
  async start(t: TestContext, places: readonly Place[]): Promise<Load[]> {
    const loads: Load[] = [];
    // One after the other: opening all at once takes a small machine longer than an operation may.
    for (const place of places) loads.push(await Load.start(t, place, { sessions: SESSIONS }));
    return loads;
  }

  async goOn(loads: readonly Load[]): Promise<void> {
    await Promise.all(loads.map((load) => load.goesOn()));
  }

  async stopAll(loads: readonly Load[]): Promise<void> {
    const complaints = await Promise.all(loads.map((load) => load.stop()));
    // The answer to giving back a lease may come too late on a busy server; the next owner waits a little then.
    assert.deepEqual(
      complaints.flat().filter((complaint) => !complaint.endsWith('TIMEOUT')),
      [],
    );
  }

  /** Adds a row to what is printed at the end. */
  note(fault: string, load: Load, lost: number): void {
    const { acknowledged, longestWait, place } = load;
    this.rows.push({ fault, mode: place.mode, acknowledged, lost, longestWait, failures: load.codes() });
  }

  /** What has to hold after every fault; `loads` are stopped or dead. */
  async settle(fault: string, loads: readonly Load[]): Promise<void> {
    for (const load of loads) {
      // The servers themselves, whatever was put in between.
      const { mode, database } = load.place;
      const lost = await load.countLost({ ...this.direct(mode), database });
      const { longestWait } = load;
      this.note(fault, load, lost);
      load.expectTyped();
      assert.equal(lost, 0, `${mode}: acknowledged writes are gone`);
      assert.ok(longestWait <= 3 * this.operationTimeout, `${mode}: a write took ${longestWait} ms`);
    }
  }

  async withRedis(work: (client: Redis) => Promise<unknown>): Promise<void> {
    const client = new Redis(this.redis.url);
    try {
      await work(client);
    } finally {
      client.disconnect();
    }
  }
}

/** A group of cases that share two servers. */
export function describeFaults(name: string, declare: (bench: FaultBench) => void): void {
  describeWith(['redis', 'ownMongo'], name, () => {
    const bench = new FaultBench();
    before(() => bench.setUp());
    afterEach(() => bench.heal());
    after(() => bench.tearDown());
    declare(bench);
  });
}
