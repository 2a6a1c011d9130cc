import { connectPg, makeTables, ONE_JSON, oneJson, ROW_PER_KEY, rowPerKey } from '../peers/pg-stores.js';
import { logger, MASTER_KEY, OURS } from '../support/contenders.js';
import type { Result } from '../support/measure.js';
import { type KeyStore, vault } from '../support/packages.js';
import { missing, POSTGRES_NOTE, postgresPlace } from '../support/servers.js';
import { loadCase, measureLoad, patchOf } from './redis.js';
import type { Scenario, Setup } from './scenario.js';

const SESSIONS = [1, 100, 1_000];
const QUICK_SESSIONS = [1, 100];
/** Opened at a time. */
const OPEN_STEP = 100;

export const postgresCase = (sessions: number, figure: Parameters<typeof loadCase>[1]): string =>
  `PostgreSQL, ${loadCase(sessions, figure)}`;

/** One record, sealed, fenced and versioned, beside what the npm stores do. All in the same rounds. */
export const postgres: Scenario = {
  id: 'postgres',
  title: 'PostgreSQL: set of 1 record, sealed, fenced, versioned; as many sessions writing at once',
  baseline: ROW_PER_KEY,
  missing: () => missing('postgres'),
  run: async (setup) => {
    setup.note(POSTGRES_NOTE);
    const server = await postgresPlace();
    const pool = connectPg(server.url);
    try {
      await makeTables(pool);
      const results: Result[] = [];
      for (const sessions of setup.quick ? QUICK_SESSIONS : SESSIONS) {
        const names = Array.from({ length: sessions }, (_, n) => `bench-${sessions}-${n}`);
        setup.progress(`postgres: opening ${sessions} sessions`);
        const opened = await openAll(server.url, names, setup);
        const json = await Promise.all(
          names.map((name) => oneJson(pool, setup.baileys, name, setup.records.one)),
        );
        const patch = patchOf(setup);
        const writers = new Map<string, (() => Promise<unknown>)[]>([
          [
            OURS,
            opened.map(
              ({ state }, n) =>
                () =>
                  (state.keys as unknown as KeyStore).set(patch(n)),
            ),
          ],
          [
            ROW_PER_KEY,
            names.map((name, n) => {
              const keys = rowPerKey(pool, setup.baileys, name);
              return () => keys.set(patch(n));
            }),
          ],
          [ONE_JSON, json.map((keys, n) => () => keys.set(patch(n)))],
        ]);
        try {
          results.push(
            ...(await measureLoad('postgres', (figure) => postgresCase(sessions, figure), writers, setup)),
          );
        } finally {
          await Promise.all(opened.map(({ store }) => store.close()));
        }
      }
      return results;
    } finally {
      await pool.end();
      await server.stop();
    }
  },
};

async function openAll(url: string, names: readonly string[], { baileys }: Setup) {
  const opened: Awaited<ReturnType<typeof vault.usePostgresAuthState>>[] = [];
  for (let from = 0; from < names.length; from += OPEN_STEP) {
    const step = names.slice(from, from + OPEN_STEP).map((sessionId) =>
      vault.usePostgresAuthState({
        sessionId,
        postgres: { postgresUrl: url },
        masterKey: MASTER_KEY,
        baileys,
        logger,
      }),
    );
    opened.push(...(await Promise.all(step)));
  }
  return opened;
}
