/** Sessions of other libraries on the servers of a store of ours, as they are left after a move. */
import { mongoLocation } from '../../../options/mongo-location.js';
import { describe } from '../../report.js';
import { type ForeignAddress, LIBRARIES } from '../../stores/foreign/address.js';
import { openForeign } from '../../stores/foreign/open.js';
import type { SourceSettings } from '../../stores/foreign/source.js';
import type { SessionStore } from '../../stores/store.js';
import type { VaultAddress } from '../../stores/vault.js';
import { plural } from '../../text.js';
import type { Finding } from '../catalogue.js';

/** Names told in one finding. */
const TOLD = 5;

/**
 * Looks for stores of every library that can be read.
 *
 * @param look is given each that holds sessions
 */
export async function examineNeighbours(
  address: VaultAddress,
  settings: SourceSettings,
  look: (store: SessionStore, sessions: readonly string[]) => Promise<void>,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const place of placesOf(address)) {
    const store = await openForeign(place, settings);
    try {
      const sessions = await store.list();
      if (sessions.length > 0) {
        const names = sessions.slice(0, TOLD).join(', ') + (sessions.length > TOLD ? ', …' : '');
        const what = `${plural(sessions.length, 'session')} of ${place.library}: ${names}`;
        findings.push({ code: 'OLD_STORE_LEFT', sessionId: null, what });
        await look(store, sessions);
      }
    } catch (error) {
      const { code, message } = describe(error);
      // Several of them: which one is meant has to be said, and is not known here.
      if (code !== 'USAGE') {
        throw error;
      }
      findings.push({ code: 'OLD_STORE_LEFT', sessionId: null, what: message });
    } finally {
      await store.close();
    }
  }
  return findings;
}

function placesOf({ kind, options, shown }: VaultAddress): ForeignAddress[] {
  const isHybrid = kind === 'hybrid';
  return LIBRARIES.flatMap(({ name: library, of }): ForeignAddress[] => {
    const address = { kind: 'foreign', library, shown } as const;
    if (of === 'redis' && (kind === 'redis' || isHybrid)) {
      const tls = (isHybrid ? options.redisTls : options.tls) as ForeignAddress['tls'];
      return [{ ...address, place: String(options.redisUrl), choices: {}, tls }];
    }
    if (of === 'mongodb' && options.mongoUrl !== undefined) {
      const tls = (isHybrid ? options.mongoTls : options.tls) as ForeignAddress['tls'];
      const { database } = mongoLocation('', options, isHybrid, [], { idle: [], warnings: [] }).location;
      return [{ ...address, place: String(options.mongoUrl), choices: { databaseName: database }, tls }];
    }
    return [];
  });
}
