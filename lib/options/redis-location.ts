import { IDLE_IN_REDIS_URL, REDIS_DIALECT } from '../compat/dialects/redis-clients.js';
import { ConfigError } from '../errors.js';
import { type Found, fields, integer, join, optional, pick, refuse, text } from './check.js';
import { DEFAULT_PREFIX, DEFAULT_REPLICAS_TIMEOUT } from './defaults.js';
import {
  allNames,
  idleNote,
  type Notes,
  openSection,
  type Section,
  type ServerFields,
  spell,
  unset,
  wholeNumber,
} from './section.js';
import type { OptionSources } from './security.js';
import { resolveTls, type TlsCertificates } from './tls.js';
import { decoded, joinUrl, type ServerUrl, splitUrl } from './url.js';

/** Where Redis is, as the core takes it. */
export interface RedisLocation {
  url: string;
  prefix: string;
  tls?: TlsCertificates;
  waitReplicas?: { count: number; timeout: number };
}

const URL_SHAPE = 'a URL beginning with redis:// or rediss://';
const SCHEME = /^(redis|rediss|valkey|valkeys|unix)([+-](sentinel|cluster))?:\/\/./i;
const MAX_PORT = 65_535;
const MAX_REPLICAS = 100;
const MAX_REPLICAS_TIMEOUT = 60_000;
const DEFAULT_HOST = 'localhost';
const DEFAULT_PORT = 6379;

const OWN = spell(REDIS_DIALECT, 'redis', false);
const SHARED = spell(REDIS_DIALECT, 'redis', true);

export const redisNames = (shared: boolean): string[] => allNames(shared ? SHARED : OWN);

type RedisSection = Section<keyof typeof REDIS_DIALECT.names>;

/**
 * Where Redis is by the options of `section`.
 *
 * @param shared whether the section has MongoDB's options too
 * @throws ConfigError naming the field
 */
export function redisLocation(
  path: string,
  options: Record<string, unknown>,
  shared: boolean,
  sources: OptionSources,
  notes: Notes,
): { location: RedisLocation; fields: ServerFields } {
  const section: RedisSection = openSection(path, options, shared ? SHARED : OWN, notes);
  const given = section.find('url');
  const decider = addressOption(section, given);
  const url = given.value === undefined ? fromParts(section, decider) : fromUrl(given, notes);
  login(section, url, given);
  database(section, url, given);

  const enable = pick('enableTls', sources);
  const tls = section.find('tls');
  const host = /^[^,]*$/.test(url.hosts) ? url.hosts.replace(/:\d+$/, '') : undefined;
  const { secure, certificates } = resolveTls(enable, tls, host, notes);
  encrypt(url, secure, tls.value === undefined ? enable.field : tls.field);
  const server = given.value === undefined ? (decider?.field ?? section.fieldOf('host')) : given.field;
  const password = section.find('password');
  const waitReplicas = replicas(section.find('waitReplicas'));
  return {
    location: {
      url: joinUrl(url),
      prefix: section.required('prefix', 'the first part of every key', DEFAULT_PREFIX, prefix),
      ...(certificates !== undefined && { tls: certificates }),
      ...(waitReplicas !== undefined && { waitReplicas }),
    },
    fields: {
      server,
      login: given.value !== undefined && password.value === undefined ? given.field : password.field,
      tls: tls.value === undefined && given.value !== undefined ? given.field : tls.field,
    },
  };
}

/** What says where the server is in place of a URL; none means localhost. */
function addressOption(section: RedisSection, url: Found): Found | undefined {
  const options = (['sentinels', 'path', 'host'] as const).map((name) => section.find(name));
  if (url.value !== undefined) {
    const extra = [...options, section.find('port')].find(({ value }) => value !== undefined);
    if (extra !== undefined) {
      throw new ConfigError(extra.field, `cannot be given together with ${url.field}`);
    }
    return undefined;
  }
  const decider = options.find(({ value }) => value !== undefined);
  const empty = [url, ...options].find(({ named, value }) => named && value === undefined);
  if (decider === undefined && empty !== undefined) {
    throw unset(empty.field, empty === url ? URL_SHAPE : 'where Redis is');
  }
  return decider;
}

function fromUrl({ field, value }: Found, notes: Notes): ServerUrl {
  if (typeof value === 'string' && /^\/[^/]/.test(value)) {
    return socket(value);
  }
  if (typeof value !== 'string' || !SCHEME.test(value)) {
    throw refuse(field, URL_SHAPE, value);
  }
  const url = splitUrl(value);
  if (url.scheme === 'unix') {
    url.scheme = 'redis';
  }
  url.scheme = url.scheme.replace('-', '+');
  recode(url);
  const isSentinel = url.scheme.endsWith('+sentinel');
  const kept: typeof url.query = [];
  let db: string | undefined;
  for (const [name, text] of url.query) {
    const known = name.toLowerCase().replaceAll('_', '');
    if (['db', 'database'].includes(known)) {
      db = decoded(text);
    } else if (known === 'username' || known === 'password') {
      url[known] ||= encodeURIComponent(decoded(text));
    } else if (known === 'tls' || known === 'ssl') {
      encrypt(url, text === 'true' || text === '1', field);
    } else if (isSentinel && (known === 'sentinelusername' || known === 'sentinelpassword')) {
      kept.push([known === 'sentinelusername' ? 'sentinelUsername' : 'sentinelPassword', text]);
    } else if (Object.hasOwn(IDLE_IN_REDIS_URL, known)) {
      notes.idle.push(idleNote(`${name} in ${field}`, IDLE_IN_REDIS_URL[known] ?? ''));
    } else {
      throw new ConfigError(
        field,
        `the URL's query holds an unknown option, ${JSON.stringify(name)}; known there: db, username, password, tls` +
          `${isSentinel ? ', sentinelUsername, sentinelPassword' : ''}`,
      );
    }
  }
  url.query = kept;
  if (db !== undefined) {
    setDatabase(url, db, field);
  }
  return url;
}

function fromParts(section: RedisSection, decider: Found | undefined): ServerUrl {
  const empty: ServerUrl = { scheme: 'redis', username: '', password: '', hosts: '', path: '', query: [] };
  const sentinels = section.find('sentinels');
  if (decider !== undefined && decider.field === sentinels.field) {
    const name = section.find('name');
    const master = text(name.field, name.value, 'what the sentinels call the master');
    const query: typeof empty.query = [];
    for (const part of ['sentinelUsername', 'sentinelPassword'] as const) {
      const { field, value } = section.find(part);
      if (value !== undefined) {
        query.push([part, encodeURIComponent(text(field, value))]);
      }
    }
    return {
      ...empty,
      scheme: 'redis+sentinel',
      hosts: addresses(sentinels),
      path: `/${encodeURIComponent(master)}`,
      query,
    };
  }
  const path = section.find('path');
  if (decider !== undefined && decider.field === path.field) {
    return socket(text(path.field, path.value, 'the path of a socket'));
  }
  const host = section.find('host');
  const name = host.value === undefined ? DEFAULT_HOST : text(host.field, host.value);
  const port = section.required('port', 'a port', DEFAULT_PORT, (found) =>
    wholeNumber(found, 1, MAX_PORT, 'a port'),
  );
  return { ...empty, hosts: `${bracketed(name)}:${port}`, path: '/0' };
}

const socket = (path: string): ServerUrl => ({
  scheme: 'redis',
  username: '',
  password: '',
  hosts: '',
  path: path.split('/').map(encodeURIComponent).join('/'),
  query: [],
});

const bracketed = (host: string): string =>
  host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;

function addresses({ field, value }: Found): string {
  const shape = 'an array of {host, port}';
  if (!Array.isArray(value) || value.length === 0) {
    throw refuse(field, shape, value);
  }
  return value
    .map((address: unknown, index) => {
      const at = `${field}[${index}]`;
      if (typeof address !== 'object' || address === null) {
        throw refuse(at, '{host, port}', address);
      }
      const { host, port = 26_379 } = address as { host?: unknown; port?: unknown };
      const number = wholeNumber({ field: `${at}.port`, value: port, named: true }, 1, MAX_PORT, 'a port');
      return `${bracketed(text(`${at}.host`, host))}:${number}`;
    })
    .join(',');
}

/** User name and password of options, in a URL that may say them as well. */
function login(section: RedisSection, url: ServerUrl, given: Found): void {
  for (const name of ['username', 'password'] as const) {
    const { field, value } = section.find(name);
    // Empty is none, as it is for other clients: a server that wants one says so.
    if (value === undefined) {
      continue;
    }
    const encoded = encodeURIComponent(text(field, value));
    if (url[name] !== '' && url[name] !== encoded) {
      throw new ConfigError(field, `differs from the one in ${given.field}; give it in one place`);
    }
    url[name] = encoded;
  }
}

/** As the core decodes it, whatever was left as it is. */
function recode(url: ServerUrl): void {
  url.username = encodeURIComponent(decoded(url.username));
  url.password = encodeURIComponent(decoded(url.password));
}

function database(section: RedisSection, url: ServerUrl, given: Found): void {
  const db = section.find('db');
  if (db.value === undefined) {
    if (db.named && given.value === undefined) {
      throw unset(db.field, 'a number');
    }
    return;
  }
  const number = wholeNumber(db, 0, MAX_PORT, 'a database');
  const said = given.value === undefined ? undefined : databaseOf(url);
  if (said !== undefined && said !== String(number)) {
    throw new ConfigError(db.field, `differs from the one in ${given.field}; give it in one place`);
  }
  setDatabase(url, String(number), db.field);
}

const isSocket = (url: ServerUrl): boolean => url.hosts === '';
/** Parts of the path before the database: a sentinel URL names its master there. */
const partsBefore = (url: ServerUrl): number => (url.scheme.endsWith('+sentinel') ? 1 : 0);

function databaseOf(url: ServerUrl): string | undefined {
  if (isSocket(url)) {
    return url.query.find(([name]) => name === 'db')?.[1];
  }
  return url.path.split('/').filter(Boolean)[partsBefore(url)];
}

function setDatabase(url: ServerUrl, number: string, field: string): void {
  integer(field, /^\d+$/.test(number) ? Number(number) : number, 0, MAX_PORT, 'a database');
  if (isSocket(url)) {
    url.query = [...url.query.filter(([name]) => name !== 'db'), ['db', number]];
    return;
  }
  const parts = url.path.split('/').filter(Boolean).slice(0, partsBefore(url));
  url.path = `/${[...parts, number].join('/')}`;
}

/** How many replicas confirm a write before it is acknowledged, and how long they are waited for. */
function replicas({ field, value }: Found): RedisLocation['waitReplicas'] {
  if (value === undefined) {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(field, '{count, timeout}', value);
  }
  const { count, timeout } = fields(field, value, ['count', 'timeout']);
  return {
    count: integer(join(field, 'count'), count, 1, MAX_REPLICAS, 'replicas'),
    timeout: optional(timeout, DEFAULT_REPLICAS_TIMEOUT, (found) =>
      integer(join(field, 'timeout'), found, 1, MAX_REPLICAS_TIMEOUT, 'milliseconds'),
    ),
  };
}

function encrypt(url: ServerUrl, secure: boolean | undefined, field: string): void {
  const already = /^(rediss|valkeys)/.test(url.scheme);
  if (secure === false && already) {
    throw new ConfigError(field, 'is false, but the URL asks for TLS');
  }
  if (secure === true && !already) {
    url.scheme = url.scheme.replace(/^(redis|valkey)/, '$1s');
  }
}

function prefix({ field, value }: Found): string {
  // A keyPrefix made for another client ends in the colon that this store adds itself.
  const whole = text(field, value).replace(/:$/, '');
  if (whole === '' || /[{}]/.test(whole)) {
    throw new ConfigError(field, 'expected a text without braces: they decide where a key lies in a cluster');
  }
  return whole;
}
