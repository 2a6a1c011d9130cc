import { open, stat, truncate } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { ConformanceOptions, DamageTarget } from '../../lib/conformance/index.js';
import { damageServers } from '../servers/damage.js';
import type { Service } from '../support/services.js';

/** A store that is put to the suite: add a row here and its factory to `factories.mjs`. */
export interface StoreRow {
  name: string;
  /** Name of the factory's export. */
  factory: string;
  /** Where the factory is. Default: `factories.mjs`. */
  module?: string;
  options?: Omit<ConformanceOptions, 'name' | 'crash'>;
}

const ALL = { veryLongIds: true, clear: true, list: true };

export const STORES: readonly StoreRow[] = [
  {
    name: 'useMultiFileAuthState',
    factory: 'folder',
    options: { capabilities: ALL, damage: damageDatabaseOf((location) => location) },
  },
  {
    name: 'useMultiFileAuthState, sealed',
    factory: 'folderSealed',
    options: { capabilities: ALL, damage: damageDatabaseOf((location) => location) },
  },
  {
    name: 'useMultiFileAuthState, every read from the storage',
    factory: 'folderUncached',
    options: { capabilities: ALL, damage: damageDatabaseOf((location) => location) },
  },
  {
    name: 'useHybridAuthState without servers',
    factory: 'embedded',
    options: { capabilities: ALL, damage: damageDatabaseOf(dirname) },
  },
  {
    name: 'useHybridAuthState without servers, sealed, compressed, full durability',
    factory: 'embeddedSealedFull',
    options: { capabilities: ALL, damage: damageDatabaseOf(dirname) },
  },
];

/** Sealed records, whose every byte is authenticated: damage can be told from data. */
const SEALED = { capabilities: ALL, damage: damageServers };

/** Stores on servers; `__test__/servers` starts them and says in the environment where they are. */
export const SERVER_STORES: readonly (StoreRow & { needs: readonly Service[]; cluster?: boolean })[] = [
  {
    name: 'useRedisAuthState',
    factory: 'redisPlain',
    needs: ['redis'],
    options: { capabilities: ALL },
  },
  { name: 'useRedisAuthState, sealed', factory: 'redisSealed', needs: ['redis'], options: SEALED },
  {
    name: 'useRedisAuthState, sealed, on a cluster',
    factory: 'redisCluster',
    needs: ['redis'],
    cluster: true,
    options: { capabilities: ALL },
  },
  {
    name: 'useMongoAuthState',
    factory: 'mongoPlain',
    needs: ['mongo'],
    options: { capabilities: ALL },
  },
  { name: 'useMongoAuthState, sealed', factory: 'mongoSealed', needs: ['mongo'], options: SEALED },
  {
    name: 'usePostgresAuthState',
    factory: 'postgresPlain',
    needs: ['postgres'],
    options: { capabilities: ALL },
  },
  { name: 'usePostgresAuthState, sealed', factory: 'postgresSealed', needs: ['postgres'], options: SEALED },
  {
    name: 'usePostgresAuthState, sealed, through PgBouncer',
    factory: 'pgbouncerSealed',
    needs: ['postgres', 'pgbouncer'],
    options: SEALED,
  },
  {
    name: 'useHybridAuthState over PostgreSQL, sealed',
    factory: 'hybridPostgres',
    needs: ['redis', 'postgres'],
    options: SEALED,
  },
  {
    name: 'useHybridAuthState over PostgreSQL, write-behind, sealed',
    factory: 'hybridPostgresWriteBehind',
    needs: ['redis', 'postgres'],
    options: SEALED,
  },
  {
    name: 'useHybridAuthState, sealed',
    factory: 'hybridSealed',
    needs: ['redis', 'mongo'],
    options: SEALED,
  },
  {
    name: 'useHybridAuthState, write-behind',
    factory: 'hybridWriteBehind',
    needs: ['redis', 'mongo'],
    options: { capabilities: ALL },
  },
  {
    name: 'useHybridAuthState, write-behind, sealed',
    factory: 'hybridWriteBehindSealed',
    needs: ['redis', 'mongo'],
    options: SEALED,
  },
];

const TRUNCATES = 'it writes in place, so a file cut short is what a kill leaves';
const READS_TORN = 'whatever cannot be read, it calls absent';
const FILE_NAMES = 'it makes file names of ids that cannot be turned back';

/** What the suite replaces, with its faults. A fault that goes away has to leave this list. */
export const REFERENCE: StoreRow = {
  name: 'Baileys’ own useMultiFileAuthState, with its known faults',
  factory: 'useMultiFileAuthState',
  module: createRequire(__filename).resolve('baileys'),
  options: {
    damage: cutShort,
    knownFailures: {
      'ids.slash': FILE_NAMES,
      'ids.colon': FILE_NAMES,
      'ids.type-boundary': FILE_NAMES,
      'ids.proto': 'it assigns to result objects by name',
      'aliasing.arguments-unawaited': 'it encodes after waiting for the file',
      'damage.creds': READS_TORN,
      'damage.record': READS_TORN,
      'crash.kill': TRUNCATES,
    },
  },
};

/** Flips a byte in the middle of the database: of the one large record there is. */
function damageDatabaseOf(folderOf: (location: string) => string) {
  return async (location: string): Promise<void> => {
    const file = await open(join(folderOf(location), 'vault.db'), 'r+');
    try {
      const at = (await file.stat()).size >> 1;
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      await file.write(Buffer.from([~(buffer[0] as number) & 0xff]), 0, 1, at);
    } finally {
      await file.close();
    }
  };
}

async function cutShort(location: string, target: DamageTarget): Promise<void> {
  const name = 'id' in target ? `${target.type}-${target.id}.json` : `${target.type}.json`;
  const path = join(location, name);
  await truncate(path, (await stat(path)).size >> 1);
}
