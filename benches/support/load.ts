/** Many sessions that write at once, each awaiting its own writes. */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { median } from './measure.js';

/** A round in which all writers worked until the time was over. */
export interface Load {
  perSecond: number;
  /** Median latency of one write, ms. */
  latencyMs: number;
  /** Time in which the event loop was not waiting, per write, µs. */
  loopUs: number;
  /** CPU time of the JS thread alone, per write, µs; NaN where the system does not tell. */
  threadUs: number;
  /** CPU time of the whole process, all threads, per write, µs. */
  processUs: number;
}

/** CPU time that the main thread has had, µs. */
function threadTime(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1_000;
  } catch {
    return Number.NaN;
  }
}

/** Every writer is called again as soon as its last call has resolved. */
export async function load(writers: readonly (() => Promise<unknown>)[], budgetMs: number): Promise<Load> {
  const latencies: number[] = [];
  const cpu = process.cpuUsage();
  const thread = threadTime();
  const loop = performance.eventLoopUtilization();
  const start = performance.now();
  const end = start + budgetMs;
  await Promise.all(
    writers.map(async (write) => {
      for (let before = performance.now(); before < end; ) {
        await write();
        const now = performance.now();
        latencies.push(now - before);
        before = now;
      }
    }),
  );
  const took = performance.now() - start;
  const { active } = performance.eventLoopUtilization(loop);
  const threadTook = threadTime() - thread;
  const { user, system } = process.cpuUsage(cpu);
  const writes = latencies.length;
  return {
    perSecond: (writes / took) * 1_000,
    latencyMs: median(latencies),
    loopUs: (active / writes) * 1_000,
    threadUs: threadTook / writes,
    processUs: (user + system) / writes,
  };
}
