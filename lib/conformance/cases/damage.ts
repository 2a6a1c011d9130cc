import { deepStrictEqual, ok } from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { Case } from '../case.js';
import { read, sameIdentity } from '../compare.js';
import type { Workbench } from '../workbench.js';

/** Large beside anything else that the session holds, so that damage to it is easy to place. */
const SIZE = 64 * 1024;

/** What opening does, as a fresh program would see it. */
async function outcome(bench: Workbench): Promise<'refused' | 'opened'> {
  try {
    await (await bench.start()).close();
    return 'opened';
  } catch (error) {
    ok(error instanceof Error);
    return 'refused';
  }
}

export const damage: readonly Case[] = [
  {
    id: 'damage.creds',
    title: 'refuses damaged credentials, each time, and never makes new ones in their place',
    needs: 'damage',
    run: async (bench) => {
      const opened = await bench.start();
      Object.assign(opened.creds, { additionalData: { bytes: randomBytes(SIZE) } });
      await opened.saveCreds();
      await opened.close();
      await bench.options.damage?.(await bench.location(), { type: 'creds' });
      deepStrictEqual([await outcome(bench), await outcome(bench)], ['refused', 'refused']);
    },
  },
  {
    id: 'damage.record',
    title: 'refuses a damaged record and does not call it absent',
    needs: 'damage',
    run: async (bench) => {
      const opened = await bench.start();
      await opened.saveCreds();
      await opened.keys.set({ session: { torn: { bytes: randomBytes(SIZE) } } });
      await opened.close();
      await bench.options.damage?.(await bench.location(), { type: 'session', id: 'torn' });
      let found: unknown;
      try {
        const again = await bench.start();
        ok(sameIdentity(again.creds, opened.creds), 'a new identity took the place of the saved one');
        found = await read(again.keys, 'session', 'torn');
      } catch (error) {
        ok(error instanceof Error && error.name !== 'AssertionError', String(error));
        return;
      }
      throw new Error(found === undefined ? 'the damaged record reads as absent' : 'the damage was not seen');
    },
  },
];
