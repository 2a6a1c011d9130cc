import { duration } from '../../text.js';
import type { Finding } from '../catalogue.js';

/** Milliseconds by which clocks may differ that follow a time server. */
const USUAL = 5000;

/** Compares this machine's clock with that of a server. */
export async function examineClock(
  name: string,
  server: { time(): Promise<number> },
): Promise<Finding | undefined> {
  // What the first answer of a connection takes is no measure.
  await server.time();
  const [before, begun] = [Date.now(), performance.now()];
  const theirs = await server.time();
  const took = performance.now() - begun;
  const ahead = theirs - (before + took / 2);
  if (Math.abs(ahead) <= USUAL + took / 2) {
    return undefined;
  }
  const by = duration(Math.abs(ahead) / 1000);
  return {
    code: 'CLOCK_SKEW',
    sessionId: null,
    what: `the clock of ${name} is ${by} ${ahead > 0 ? 'ahead of' : 'behind'} this machine's`,
  };
}
