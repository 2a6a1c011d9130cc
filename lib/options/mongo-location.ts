import {
  HYBRID_MONGO_DIALECT,
  IDLE_IN_MONGO_URL,
  KNOWN_IN_MONGO_URL,
  MONGO_DIALECT,
  MONGO_URL_OPTIONS,
  UNSUPPORTED_IN_MONGO_URL,
} from '../compat/dialects/mongo-clients.js';
import { ConfigError } from '../errors.js';
import { type Found, fields, join, pick, refuse, text } from './check.js';
import { DEFAULT_COLLECTION, DEFAULT_DATABASE } from './defaults.js';
import {
  allNames,
  idleNote,
  type Notes,
  namesIn,
  openSection,
  type Section,
  type ServerFields,
  spell,
  unset,
} from './section.js';
import type { OptionSources } from './security.js';
import { resolveTls, type TlsCertificates } from './tls.js';
import { decoded, joinUrl, type ServerUrl, splitUrl } from './url.js';

/** Where MongoDB is, as the core takes it. */
export interface MongoLocation {
  url: string;
  database: string;
  collection: string;
  tls?: TlsCertificates;
  acceptLostOutbox?: boolean;
}

const URL_SHAPE = 'a URL beginning with mongodb:// or mongodb+srv://';
const SCHEME = /^mongodb(\+srv)?:\/\/./i;

/** How a section writes the options, and those that may stand in the URL as well. */
const spelling = (dialect: typeof MONGO_DIALECT | typeof HYBRID_MONGO_DIALECT, shared: boolean) => ({
  options: spell<keyof typeof MONGO_DIALECT.names>(dialect, 'mongo', shared),
  inUrl: MONGO_URL_OPTIONS.map((option) => ({ option, keys: namesIn([option], 'mongo', shared) })),
});
const OWN = spelling(MONGO_DIALECT, false);
const SHARED = spelling(HYBRID_MONGO_DIALECT, true);

export function mongoNames(shared: boolean): string[] {
  const { options, inUrl } = shared ? SHARED : OWN;
  return [...allNames(options), ...inUrl.flatMap(({ keys }) => keys)];
}

type MongoSection = Section<keyof typeof MONGO_DIALECT.names>;

/**
 * Where MongoDB is by the options of `section`.
 *
 * @param shared whether the section has Redis' options too
 * @throws ConfigError naming the field
 */
export function mongoLocation(
  path: string,
  options: Record<string, unknown>,
  shared: boolean,
  sources: OptionSources,
  notes: Notes,
): { location: MongoLocation; fields: ServerFields } {
  const { options: spelled, inUrl } = shared ? SHARED : OWN;
  const section: MongoSection = openSection(path, options, spelled, notes);
  const given = section.find('url');
  if (typeof given.value !== 'string' || !SCHEME.test(given.value)) {
    throw given.value === undefined && given.named
      ? unset(given.field, URL_SHAPE, '')
      : refuse(given.field, URL_SHAPE, given.value);
  }
  const url = splitUrl(given.value);
  url.query = query(url, given.field, notes);
  addOptions(section, inUrl, url, given.field, notes);
  login(section, url, given.field);

  const enable = pick('enableTls', sources);
  const tls = section.find('tls');
  const { secure, certificates } = resolveTls(enable, tls, undefined, notes);
  encrypt(url, secure, tls.value === undefined ? enable.field : tls.field);
  const password = section.find('password');
  const ofUrl = decoded(url.path.slice(1));
  return {
    location: {
      url: joinUrl(url),
      database: section.required('database', 'a name', ofUrl === '' ? DEFAULT_DATABASE : ofUrl, name),
      collection: section.required('collection', 'a name', DEFAULT_COLLECTION, name),
      ...(certificates !== undefined && { tls: certificates }),
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
    if (Object.hasOwn(IDLE_IN_MONGO_URL, known)) {
      notes.idle.push(idleNote(`${key} in ${field}`, IDLE_IN_MONGO_URL[known] ?? ''));
      return false;
    }
    if (known === 'maxpoolsize' && value === '0') {
      notes.idle.push(idleNote(`${key}=0 in ${field}`, 'the pool is always bounded'));
      return false;
    }
    if (Object.hasOwn(UNSUPPORTED_IN_MONGO_URL, known)) {
      throw new ConfigError(
        field,
        `${key} in the URL is not supported here: ${UNSUPPORTED_IN_MONGO_URL[known]}`,
      );
    }
    if (!KNOWN_IN_MONGO_URL.has(known)) {
      throw new ConfigError(field, `the URL's query holds an unknown option, ${JSON.stringify(key)}`);
    }
    return true;
  });
}

/** Puts options into the URL that the driver reads there. */
function addOptions(
  section: MongoSection,
  inUrl: typeof OWN.inUrl,
  url: ServerUrl,
  field: string,
  notes: Notes,
): void {
  for (const { option, keys } of inUrl) {
    for (const key of keys) {
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
  for (const [part, candidates] of [
    ['username', [section.find('username'), inAuth('username'), inAuth('user')]],
    ['password', [section.find('password'), inAuth('password')]],
  ] as const) {
    for (const found of candidates) {
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
