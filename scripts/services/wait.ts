import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves once `condition` holds; rejects, naming `what` was awaited, when it does not in time. */
export async function until(
  what: string,
  condition: () => Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`gave up after ${timeoutMs} ms waiting until ${what}`);
    await sleep(25);
  }
}
