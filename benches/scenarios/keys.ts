import { join } from 'node:path';
import type { Session } from '../support/contenders.js';
import { makeFolder } from '../support/contenders.js';
import { interleave, type Result, resultsOf, type Subject } from '../support/measure.js';
import type { KeyStore } from '../support/packages.js';
import { fill, type Records } from '../support/records.js';
import type { Scenario, Setup } from './index.js';

const SIZES = [10, 1_000, 100_000];
const QUICK_SIZES = [10, 1_000];

interface Call {
  name: string;
  unit: 'µs' | 'ms';
  make(keys: KeyStore, records: Records): (turn: number) => Promise<unknown>;
  /** Whether it is measured at every number of stored keys. */
  everySize: boolean;
}

const CALLS: readonly Call[] = [
  {
    name: 'get, cached session record',
    unit: 'µs',
    make: (keys, { hot }) => {
      return (turn) => keys.get('session', [hot(turn % 10)]);
    },
    everySize: true,
  },
  {
    name: 'set of 1 record',
    unit: 'µs',
    make: (keys, { one }) => {
      return (turn) => keys.set(one(turn % 10));
    },
    everySize: true,
  },
  {
    name: 'set of 5 records',
    unit: 'µs',
    make: (keys, { five }) => {
      return (turn) => keys.set(five(turn % 10));
    },
    everySize: true,
  },
  {
    name: 'set of 800 pre-keys',
    unit: 'ms',
    make: (keys, { preKeys }) => {
      return () => keys.set(preKeys);
    },
    everySize: false,
  },
];

export const caseName = (call: string, size: number): string =>
  `${call}, ${size.toLocaleString('en')} keys stored`;

/** Single calls, awaited one after the other, with few and many keys stored. */
export const keys: Scenario = {
  id: 'keys',
  title: 'One call at a time, awaited',
  run: async (setup) => {
    const results: Result[] = [];
    for (const size of setup.quick ? QUICK_SIZES : SIZES) {
      results.push(...(await atSize(setup, size)));
    }
    return results;
  },
};

async function atSize({ contenders, records, effort, progress }: Setup, size: number): Promise<Result[]> {
  const { folder, remove } = await makeFolder();
  const open: { name: string; session: Session }[] = [];
  try {
    for (const contender of contenders) {
      progress(`${contender.name}: filling ${size} keys`);
      const session = await contender.open(join(folder, contender.name));
      open.push({ name: contender.name, session });
      await session.saveCreds();
      await fill(session.keys, records, size);
    }
    const results: Result[] = [];
    for (const { name, unit, make, everySize } of CALLS) {
      if (!everySize && size !== SIZES[1]) {
        continue;
      }
      progress(caseName(name, size));
      const subjects = open.map(({ name: contender, session }): Subject => {
        const call = make(session.keys, records);
        return {
          contender,
          work: async (count) => {
            for (let turn = 0; turn < count; turn++) {
              await call(turn);
            }
          },
        };
      });
      results.push(...resultsOf('keys', caseName(name, size), unit, await interleave(subjects, effort)));
    }
    return results;
  } finally {
    await Promise.all(open.map(({ session }) => session.close()));
    await remove();
  }
}
