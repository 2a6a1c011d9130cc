import { ConfigError } from '../errors.js';
import { type Found, fields, join, pick, refuse, text } from './check.js';
import { DEFAULT_COLLECTION, DEFAULT_DATABASE } from './defaults.js';
import {
  type Idle,
  idleNote,
  type Names,
  type Notes,
  namesIn,
  openSection,
  type Section,
  type ServerFields,
  unset,
} from './section.js';
import type { Places } from './security.js';
import { resolveTls, type TlsPlace } from './tls.js';
import { decoded, joinUrl, type ServerUrl, splitUrl } from './url.js';

/** Where MongoDB is, as the core takes it. */
export interface MongoPlace {
  url: string;
  database: string;
  collection: string;
  tls?: TlsPlace;
  acceptLostOutbox?: boolean;
}

const URL_SHAPE = 'a URL beginning with mongodb:// or mongodb+srv://';
const SCHEME = /^mongodb(\+srv)?:\/\/./i;

const NAMES = {
  url: ['mongoUrl', 'url', 'uri'],
  database: ['databaseName', 'database', 'mongoDatabase', 'dbName'],
  collection: ['collectionName', 'collection', 'mongoCollection'],
  username: ['username', 'user'],
  password: ['password', 'pass'],
  tls: ['tls', 'ssl'],
  auth: ['auth'],
} as const satisfies Record<string, Names>;

/** In hybrid mode the documented names come first. */
const HYBRID_NAMES = {
  ...NAMES,
  database: ['mongoDatabase', 'databaseName', 'dbName'],
  collection: ['mongoCollection', 'collectionName'],
} as const satisfies Record<string, Names>;

/** Options of a MongoDB URL that may also stand as options; all but the last few are the driver's. */
const URL_OPTIONS = [
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

/** What the driver reads of a URL beside them. */
const DRIVER_ONLY = ['tls', 'ssl', 'uuidrepresentation', 'maxstalenessseconds'];

/** What programs set for mongoose or MongoDB's driver for Node and need not here. */
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
} as const satisfies Idle;

/** Options of MongoDB's drivers: those of a URL, and those that have no effect here. */
export type MongoDriverOptions = {
  readonly [Name in (typeof URL_OPTIONS)[number]]?: string | number | boolean | undefined;
} & { readonly [Name in Exclude<keyof typeof IDLE, 'logger'>]?: unknown };

const UNSUPPORTED: Idle = {
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

const lower = (names: readonly string[]): Map<string, string> =>
  new Map(names.map((name) => [name.toLowerCase(), name]));
const KNOWN_IN_URL = new Set([...lower(URL_OPTIONS).keys(), ...DRIVER_ONLY]);
const IDLE_IN_URL = lower(Object.keys(IDLE));

/** Names that mean another thing in a section, where they are options of the store. */
const NOT_HERE = new Set(['logger', 'tls', 'ssl']);
const IDLE_HERE: Idle = Object.fromEntries(Object.entries(IDLE).filter(([name]) => !NOT_HERE.has(name)));

export const mongoNames = (shared: boolean): string[] =>
  [
    ...Object.values(NAMES).flat(),
    ...URL_OPTIONS,
    ...Object.keys(IDLE_HERE),
    ...Object.keys(UNSUPPORTED),
  ].flatMap((name) => namesIn([name], 'mongo', shared));

type MongoSection = Section<keyof typeof NAMES>;

/**
 * Where MongoDB is by the options of `section`.
 *
 * @param shared whether Redis' options stand there too
 * @throws ConfigError naming the field
 */
export function mongoPlace(
  path: string,
  options: Record<string, unknown>,
  shared: boolean,
  places: Places,
  notes: Notes,
): { place: MongoPlace; fields: ServerFields } {
  const names = shared ? HYBRID_NAMES : NAMES;
  const others = { idle: IDLE_HERE, unsupported: UNSUPPORTED };
  const section: MongoSection = openSection(path, options, 'mongo', names, shared, others, notes);
  const given = section.find('url');
  if (typeof given.value !== 'string' || !SCHEME.test(given.value)) {
    throw given.value === undefined && given.named
      ? unset(given.field, URL_SHAPE, '')
      : refuse(given.field, URL_SHAPE, given.value);
  }
  const url = splitUrl(given.value);
  url.query = query(url, given.field, notes);
  addOptions(section, url, given.field, notes);
  login(section, url, given.field);

  const enable = pick('enableTls', places);
  const tls = section.find('tls');
  const { secure, place } = resolveTls(enable, tls, undefined, notes);
  encrypt(url, secure, tls.value === undefined ? enable.field : tls.field);
  const password = section.find('password');
  const ofUrl = decoded(url.path.slice(1));
  return {
    place: {
      url: joinUrl(url),
      database: section.required('database', 'a name', ofUrl === '' ? DEFAULT_DATABASE : ofUrl, name),
      collection: section.required('collection', 'a name', DEFAULT_COLLECTION, name),
      ...(place !== undefined && { tls: place }),
    },
    fields: {
      server: given.field,
      login: password.value === undefined ? given.field : password.field,
      tls: tls.value === undefined ? given.field : tls.field,
    },
  };
}

const name = ({ field, value }: Found): string => text(field, value);

/** The options of a URL that the driver takes. */
function query(url: ServerUrl, field: string, notes: Notes): ServerUrl['query'] {
  return url.query.filter(([key, value]) => {
    const known = key.toLowerCase();
    const idle = IDLE_IN_URL.get(known);
    if (idle !== undefined) {
      notes.idle.push(idleNote(`${key} in ${field}`, (IDLE as Idle)[idle] ?? ''));
      return false;
    }
    if (known === 'maxpoolsize' && value === '0') {
      notes.idle.push(idleNote(`${key}=0 in ${field}`, 'the pool is always bounded'));
      return false;
    }
    const unsupported = Object.keys(UNSUPPORTED).find((option) => option.toLowerCase() === known);
    if (unsupported !== undefined) {
      throw new ConfigError(field, `${key} in the URL is not supported here: ${UNSUPPORTED[unsupported]}`);
    }
    if (!KNOWN_IN_URL.has(known)) {
      throw new ConfigError(field, `the URL's query holds an unknown option, ${JSON.stringify(key)}`);
    }
    return true;
  });
}

/** Puts options into the URL that the driver reads there. */
function addOptions(section: MongoSection, url: ServerUrl, field: string, notes: Notes): void {
  for (const option of URL_OPTIONS) {
    for (const key of namesIn([option], 'mongo', section.isShared)) {
      const value = section.options[key];
      if (value === undefined || value === null) {
        continue;
      }
      const at = join(section.path, key);
      if (!['string', 'number', 'boolean'].includes(typeof value) || value === '') {
        throw refuse(at, 'a text, a number, true or false', value);
      }
      if (option === 'maxPoolSize' && Number(value) === 0) {
        notes.idle.push(idleNote(at, 'the pool is always bounded'));
        continue;
      }
      const encoded = encodeURIComponent(String(value));
      const said = url.query.find(([name]) => name.toLowerCase() === option.toLowerCase());
      if (said !== undefined && said[1].toLowerCase() !== encoded.toLowerCase()) {
        throw new ConfigError(at, `differs from ${said[0]} in ${field}; give it in one place`);
      }
      if (said === undefined) {
        url.query.push([option, encoded]);
      }
    }
  }
}

function login(section: MongoSection, url: ServerUrl, field: string): void {
  const auth = section.find('auth');
  const own = fields(auth.field, auth.value, ['username', 'password', 'user']);
  const inAuth = (key: string): Found => ({
    field: join(auth.field, key),
    value: own[key] === '' ? undefined : own[key],
    named: false,
  });
  for (const [part, places] of [
    ['username', [section.find('username'), inAuth('username'), inAuth('user')]],
    ['password', [section.find('password'), inAuth('password')]],
  ] as const) {
    for (const found of places) {
      if (found.value === undefined) {
        continue;
      }
      const encoded = encodeURIComponent(text(found.field, found.value));
      if (url[part] !== '' && decoded(url[part]) !== found.value) {
        throw new ConfigError(found.field, `differs from the one in ${field}; give it in one place`);
      }
      url[part] = encoded;
    }
  }
}

function encrypt(url: ServerUrl, secure: boolean | undefined, field: string): void {
  const asked = url.query.find(([key]) => /^(tls|ssl)$/i.test(key))?.[1].toLowerCase();
  if (secure !== undefined && asked !== undefined && asked !== String(secure)) {
    throw new ConfigError(field, `is ${secure}, but the URL says otherwise`);
  }
  if (secure === undefined || asked !== undefined || (!secure && url.scheme === 'mongodb')) {
    return;
  }
  url.query.push(['tls', String(secure)]);
}
