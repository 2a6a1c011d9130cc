/** The option names of `pg`, and of what is built on it. */
import type { Dialect, Hints, Names } from './names.js';

/** What each option for a PostgreSQL server may be called, our name first. */
const NAMES = {
  url: ['postgresUrl', 'url', 'connectionString', 'databaseUrl', 'uri'],
  host: ['host', 'hostname'],
  port: ['port'],
  username: ['user', 'username'],
  password: ['password', 'pass'],
  database: ['database', 'databaseName', 'dbName'],
  schema: ['schema'],
  tls: ['tls', 'ssl'],
  maxConnections: ['maxConnections'],
  applicationName: ['applicationName', 'application_name'],
} as const satisfies Readonly<Record<string, Names>>;

/** Options that programs set for pg and that change nothing here. */
const IDLE = {
  max: 'see maxConnections: thousands of sessions share a connection',
  min: 'see maxConnections',
  connectionTimeoutMillis: 'see resilience.operationTimeout',
  idleTimeoutMillis: 'connections are kept',
  query_timeout: 'see resilience.operationTimeout',
  statement_timeout: 'see resilience.operationTimeout',
  lock_timeout: 'no statement waits for a lock',
  idle_in_transaction_session_timeout: 'every statement is a transaction by itself',
  keepAlive: 'always on',
  keepAliveInitialDelayMillis: '',
  allowExitOnIdle: '',
  maxUses: '',
  maxLifetimeSeconds: '',
  dialect: '',
  type: '',
  client_encoding: '',
  fallback_application_name: '',
  binary: '',
} as const satisfies Hints;

/** Options of pg that have no effect here. */
export type IdlePostgresOptions = { readonly [Name in keyof typeof IDLE]?: unknown };

const OWN = 'the connections belong to the core: give postgresUrl';

/** Options that ask for what this store does not do. */
const UNSUPPORTED: Hints = {
  pool: OWN,
  client: OWN,
  connection: OWN,
  prisma: OWN,
  sequelize: OWN,
  knex: OWN,
  dataSource: OWN,
  tableName: 'give schema: the tables have names of their own in it',
  table: 'give schema: the tables have names of their own in it',
  options: 'give them in the URL, as options=…',
  stream: OWN,
  types: OWN,
  Client: OWN,
};

/** The options of a PostgreSQL server. */
export const POSTGRES_DIALECT: Dialect<keyof typeof NAMES> = {
  names: NAMES,
  idle: IDLE,
  unsupported: UNSUPPORTED,
};
