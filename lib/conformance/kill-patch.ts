import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import type { KeyStore, Patch } from './baileys.js';

/** How many patches back the records of single patches are kept. */
const WINDOW = 40;
/** Large enough that a store which writes in place is sooner or later killed while it does. */
const PADDING = 'p'.repeat(6_000);
/** Overwritten by every patch. */
const SHARED: readonly (readonly [type: string, id: string])[] = [
  ['session', 'left'],
  ['session', 'right'],
  ['sender-key', 'group'],
];

/** What a killed process had to do. */
export interface KillTask {
  module: string;
  exportName: string;
  location: string;
  /** Number of the first patch. */
  from: number;
  /** Patches under way at a time. */
  depth: number;
}

/** Patch `seq`: it overwrites three records, puts one of its own and deletes that of an earlier patch. */
export const patchOf = (seq: number): Patch => ({
  session: { left: { seq, PADDING }, right: { seq, PADDING } },
  'sender-key': { group: { seq } },
  'pre-key': { [seq]: { seq }, [seq - WINDOW]: null },
});

/**
 * Fails unless the records are those that patches 1 to some number leave, each patch whole. Returns that number,
 * 0 when there was none yet.
 */
export async function expectWholePatches(keys: KeyStore): Promise<number> {
  const seen: (number | undefined)[] = [];
  for (const [type, id] of SHARED) {
    const found = (await keys.get(type, [id]))[id] as { seq: number } | null | undefined;
    seen.push(found?.seq);
  }
  const last = seen[0] ?? 0;
  deepStrictEqual(
    seen,
    seen.map(() => seen[0]),
    'half a patch is there: its records are of different patches, or gone',
  );
  const ids = Array.from({ length: WINDOW + 8 }, (_, back) => last + 4 - back).filter((seq) => seq > 0);
  const own = await keys.get('pre-key', ids.map(String));
  for (const seq of ids) {
    const expected = seq <= last && seq > last - WINDOW;
    const found = own[seq] as { seq: number } | null | undefined;
    strictEqual(
      Boolean(found),
      expected,
      `last patch ${last}: the record of ${seq} is ${found ? '' : 'not '}there`,
    );
    ok(!found || found.seq === seq);
  }
  return last;
}
