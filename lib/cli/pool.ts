/** Runs `work` for every item, `jobs` at a time; begins nothing more once `signal` is aborted. */
export async function inParallel<T>(
  items: Iterable<T>,
  jobs: number,
  signal: AbortSignal,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (;;) {
      const next = signal.aborted ? undefined : queue.next();
      if (next === undefined || next.done) {
        return;
      }
      await work(next.value);
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: jobs }, worker));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) {
    throw failed.reason;
  }
}
