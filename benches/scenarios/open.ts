import { join } from 'node:path';
import { type Contender, makeFolder, OURS, openInSharedStore, type Session } from '../support/contenders.js';
import { interleave, resultOf, type Subject } from '../support/measure.js';
import { fill } from '../support/records.js';
import type { Scenario, Setup } from './scenario.js';

const KEYS = 1_000;

export const OPEN_CASE = `open a session of ${KEYS.toLocaleString('en')} keys, first get`;
const SHARED_NAME = 'vault, store open already';

/** Opening what is stored, up to the first answer. The module and Baileys are loaded before. */
export const open: Scenario = {
  id: 'open',
  title: 'Opening',
  run: async (setup) => {
    const { folder, remove } = await makeFolder();
    const shared = await openInSharedStore(setup.baileys, join(folder, 'shared', 'other'));
    try {
      const candidates: Contender[] = [
        ...setup.contenders.filter(({ persistent }) => persistent),
        {
          name: SHARED_NAME,
          open: (location) => openInSharedStore(setup.baileys, join(folder, 'shared', location.slice(-8))),
          persistent: true,
        },
      ];
      const subjects: Subject[] = [];
      for (const candidate of candidates) {
        subjects.push(await prepare(candidate, join(folder, candidate.name), setup));
      }
      setup.progress(OPEN_CASE);
      // Each opening counts by itself: closing is between them.
      const times = await interleave(subjects, { rounds: setup.effort.rounds * 4, budgetMs: 0 });
      return times.map(({ subject, samples }) =>
        resultOf('open', OPEN_CASE, subject.contender, 'ms', samples),
      );
    } finally {
      await shared.close();
      await remove();
    }
  },
};

async function prepare({ name, open }: Contender, location: string, { records }: Setup): Promise<Subject> {
  const first = await open(location);
  await first.saveCreds();
  await fill(first.keys, records, KEYS);
  await first.close();
  let session: Session | undefined;
  return {
    contender: name,
    reset: async () => {
      await session?.close();
      session = undefined;
    },
    work: async () => {
      session = await open(location);
      const [id] = records.hot[1] as [string];
      const found = await session.keys.get('session', [id]);
      if (found[id] === undefined) {
        throw new Error(`${name} has lost a record; ${OURS} is compared with stores that keep theirs`);
      }
    },
  };
}
