import { join } from 'node:path';
import type { Session } from '../support/contenders.js';
import { makeFolder } from '../support/contenders.js';
import { interleave, type Result, resultOf, type Subject } from '../support/measure.js';
import type { KeyStore, Patch } from '../support/packages.js';
import { fill, type Records } from '../support/records.js';
import type { Scenario, Setup } from './scenario.js';

const SIZES = [10, 1_000, 100_000];
const QUICK_SIZES = [10, 1_000];

/** Sessions in turn; no more than the smallest number of keys stored. */
const TURNS = 10;

interface Call {
  name: string;
  unit: 'µs' | 'ms';
  call(keys: KeyStore, records: Records, turn: number): Promise<unknown>;
  /** Numbers of stored keys at which it is measured. */
  sizes: readonly number[];
}

const CALLS: readonly Call[] = [
  {
    name: 'get, cached session record',
    unit: 'µs',
    call: (keys, { hot }, turn) => keys.get('session', hot[turn] as string[]),
    sizes: SIZES,
  },
  {
    name: 'set of 1 record',
    unit: 'µs',
    call: (keys, { one }, turn) => keys.set(one[turn] as Patch),
    sizes: SIZES,
  },
  {
    name: 'set of 5 records',
    unit: 'µs',
    call: (keys, { five }, turn) => keys.set(five[turn] as Patch),
    sizes: SIZES,
  },
  {
    name: 'set of 800 pre-keys',
    unit: 'ms',
    call: (keys, { preKeys }) => keys.set(preKeys),
    sizes: [1_000],
  },
];

export const caseName = (call: string, size: number): string =>
  `${call}, ${size.toLocaleString('en')} keys stored`;

/** An open session with so many keys. */
interface Filled {
  contender: string;
  size: number;
  session: Session;
}

/** Single calls, awaited one after the other, with few and many keys stored; all numbers in the same rounds. */
export const keys: Scenario = {
  id: 'keys',
  title: 'One call at a time, awaited',
  run: async (setup) => {
    const { folder, remove } = await makeFolder();
    const filled: Filled[] = [];
    try {
      for (const size of setup.quick ? QUICK_SIZES : SIZES) {
        for (const contender of setup.contenders) {
          setup.progress(`${contender.name}: filling ${size} keys`);
          const session = await contender.open(join(folder, `${contender.name} ${size}`));
          filled.push({ contender: contender.name, size, session });
          await session.saveCreds();
          await fill(session.keys, setup.records, size);
        }
      }
      const results: Result[] = [];
      for (const call of CALLS) {
        setup.progress(call.name);
        results.push(...(await measure(call, filled, setup)));
      }
      return results;
    } finally {
      await Promise.all(filled.map(({ session }) => session.close()));
      await remove();
    }
  },
};

async function measure(call: Call, filled: readonly Filled[], { records, effort }: Setup): Promise<Result[]> {
  const subjects = filled
    .filter(({ size }) => call.sizes.includes(size))
    .map(({ contender, size, session: { keys } }): Subject & { contender: string; size: number } => ({
      contender,
      size,
      work: async (count) => {
        for (let turn = 0; turn < count; turn++) {
          await call.call(keys, records, turn % TURNS);
        }
      },
    }));
  const measured = await interleave(subjects, effort);
  return measured.map(({ subject, samples }) =>
    resultOf('keys', caseName(call.name, subject.size), subject.contender, call.unit, samples),
  );
}
