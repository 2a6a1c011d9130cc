/** The option names of MongoDB's driver for Node and of mongoose. */
import type { Dialect, Hints, Names } from './names.js';

/** What each option for a MongoDB server may be called, our name first. */
const NAMES = {
  url: ['mongoUrl', 'url', 'uri'],
  database: ['databaseName', 'database', 'mongoDatabase', 'dbName'],
  collection: ['collectionName', 'collection', 'mongoCollection'],
  username: ['username', 'user'],
  password: ['password', 'pass'],
  tls: ['tls', 'ssl'],
  auth: ['auth'],
} as const satisfies Readonly<Record<string, Names>>;

/** The same in hybrid mode, which has other names of its own. */
const HYBRID_NAMES = {
  ...NAMES,
  database: ['mongoDatabase', 'databaseName', 'dbName'],
  collection: ['mongoCollection', 'collectionName'],
} as const satisfies Readonly<Record<string, Names>>;

/** Options of a MongoDB URL that may also stand as options. */
export const MONGO_URL_OPTIONS = [
  'appName',
  'authMechanism',
  'authMechanismProperties',
  'authSource',
  'connectTimeoutMS',
  'directConnection',
  'heartbeatFrequencyMS',
  'journal',
  'loadBalanced',
  'localThresholdMS',
  'maxConnecting',
  'maxIdleTimeMS',
  'maxPoolSize',
  'minPoolSize',
  'readConcernLevel',
  'replicaSet',
  'retryReads',
  'retryWrites',
  'serverMonitoringMode',
  'srvMaxHosts',
  'srvServiceName',
  'tlsAllowInvalidCertificates',
  'tlsCAFile',
  'tlsCertificateKeyFile',
  'tlsInsecure',
  'w',
  'wtimeoutMS',
] as const;

/** Other options that the driver reads from a URL. */
const DRIVER_ONLY = ['tls', 'ssl', 'uuidrepresentation', 'maxstalenessseconds'];

/** Options that programs set for mongoose or MongoDB's driver for Node and that change nothing here. */
const IDLE = {
  socketTimeoutMS: 'see resilience.operationTimeout',
  serverSelectionTimeoutMS: 'see resilience.operationTimeout',
  serverSelectionTryOnce: 'see resilience.operationTimeout',
  waitQueueTimeoutMS: 'see resilience.operationTimeout',
  timeoutMS: 'see resilience.operationTimeout',
  maxTimeMS: 'see resilience.operationTimeout',
  compressors: 'records are compact, or compressed by enableCompression',
  zlibCompressionLevel: '',
  useUnifiedTopology: '',
  useNewUrlParser: '',
  useCreateIndex: '',
  useFindAndModify: '',
  autoIndex: '',
  autoCreate: '',
  bufferCommands: '',
  bufferMaxEntries: '',
  bufferTimeoutMS: '',
  strictQuery: '',
  family: 'every address of the host is tried',
  keepAlive: '',
  keepAliveInitialDelay: '',
  noDelay: 'always on',
  autoReconnect: '',
  autoSelectFamily: '',
  autoSelectFamilyAttemptTimeout: '',
  reconnectTries: 'see resilience.maxRetries',
  reconnectInterval: 'see resilience.retryBaseDelay',
  poolSize: 'see maxPoolSize',
  readPreference: 'only the primary is asked',
  readPreferenceTags: 'only the primary is asked',
  monitorCommands: '',
  promiseLibrary: '',
  forceServerObjectId: '',
  ignoreUndefined: '',
  promoteValues: '',
  promoteLongs: '',
  promoteBuffers: '',
  raw: '',
  serializeFunctions: '',
  driverInfo: '',
  logger: '',
  loggerLevel: '',
  serverApi: '',
  wtimeout: '',
} as const satisfies Hints;

/** Options of MongoDB's drivers: those of a URL, and those that have no effect here. */
export type MongoDriverOptions = {
  readonly [Name in (typeof MONGO_URL_OPTIONS)[number]]?: string | number | boolean | undefined;
} & { readonly [Name in Exclude<keyof typeof IDLE, 'logger'>]?: unknown };

/** Options of these packages that ask for what this store does not do. */
const UNSUPPORTED: Hints = {
  autoEncryption: 'records are sealed by masterKey',
  pkFactory: 'ids are the store’s own',
  tlsAllowInvalidHostnames:
    'connect by a name that the certificate holds, or give tls.rejectUnauthorized: false',
  tlsCertificateKeyFilePassword: 'give tls: { cert, key, passphrase }',
  sslValidate: 'give tls.rejectUnauthorized',
  sslCA: 'give tls.ca',
  sslCert: 'give tls.cert',
  sslKey: 'give tls.key',
  sslPass: 'give tls.passphrase',
  proxyHost: 'connect to the servers themselves',
  proxyPort: 'connect to the servers themselves',
  writeConcern: 'give w, journal and wtimeoutMS',
  readConcern: 'give readConcernLevel',
  client: 'the connection belongs to the core: give mongoUrl',
  connection: 'the connection belongs to the core: give mongoUrl',
  options: 'give its options themselves',
};

const lower = (name: string): string => name.toLowerCase();

/** Options that the driver reads from a URL, in lower case. */
export const KNOWN_IN_MONGO_URL: ReadonlySet<string> = new Set(
  [...MONGO_URL_OPTIONS, ...DRIVER_ONLY].map(lower),
);

/** Names in a URL's query that change nothing here, in lower case. */
export const IDLE_IN_MONGO_URL: Hints = Object.fromEntries(
  Object.entries(IDLE).map(([name, instead]) => [lower(name), instead]),
);

/** Names in a URL's query that ask for what this store does not do, in lower case. */
export const UNSUPPORTED_IN_MONGO_URL: Hints = Object.fromEntries(
  Object.entries(UNSUPPORTED).map(([name, instead]) => [lower(name), instead]),
);

// In a section, `logger` is the store's own option.
const { logger: _, ...IDLE_IN_SECTION } = IDLE;

/** The options of a MongoDB server. */
export const MONGO_DIALECT: Dialect<keyof typeof NAMES> = {
  names: NAMES,
  idle: IDLE_IN_SECTION,
  unsupported: UNSUPPORTED,
};

/** The same in a section that has options of Redis too. */
export const HYBRID_MONGO_DIALECT: typeof MONGO_DIALECT = { ...MONGO_DIALECT, names: HYBRID_NAMES };
