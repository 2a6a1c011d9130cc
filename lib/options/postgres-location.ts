import { POSTGRES_DIALECT } from '../compat/dialects/postgres-clients.js';
import { ConfigError } from '../errors.js';
import { type Found, pick, refuse, text } from './check.js';
import { DEFAULT_CONNECTIONS, DEFAULT_SCHEMA } from './defaults.js';
import {
  allNames,
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

/** Where PostgreSQL is, as the core takes it. */
export interface PostgresLocation {
  url: string;
  schema: string;
  maxConnections: number;
  tls?: TlsCertificates;
  acceptLostOutbox?: boolean;
}

const URL_SHAPE = 'a URL beginning with postgres:// or postgresql://';
const SCHEME = /^postgres(ql)?:\/\/./i;
const MAX_PORT = 65_535;
const MAX_CONNECTIONS = 100;
const DEFAULT_HOST = 'localhost';

const OWN = spell(POSTGRES_DIALECT, 'postgres', false);
const SHARED = spell(POSTGRES_DIALECT, 'postgres', true);

export const postgresNames = (shared: boolean): string[] => allNames(shared ? SHARED : OWN);

type PostgresSection = Section<keyof typeof POSTGRES_DIALECT.names>;

/** Whether a section that two servers share says where PostgreSQL is. */
export function namesPostgres(options: Record<string, unknown>): boolean {
  const names = [...SHARED.names.url, ...SHARED.names.host];
  return names.some((name) => Object.hasOwn(options, name));
}

/**
 * Refuses a connection that the program has made itself, as home-made stores take it.
 *
 * @throws ConfigError naming the option to give
 */
export function refuseClient(path: string, value: unknown): void {
  if (typeof value !== 'object' || value === null) {
    return;
  }
  const made = value as Record<string, unknown>;
  const does = (name: string): boolean => {
    try {
      return typeof made[name] === 'function';
    } catch {
      return false;
    }
  };
  if (['query', '$connect', '$queryRaw', 'raw', 'authenticate'].some(does)) {
    throw new ConfigError(
      path,
      'is a connection of the program’s own (a Pool, Client or Prisma client), and the connections belong to the core: ' +
        `give ${path}: { postgresUrl }`,
    );
  }
}

/**
 * Where PostgreSQL is by the options of `section`.
 *
 * @param shared whether the section has Redis' options too
 * @throws ConfigError naming the field
 */
export function postgresLocation(
  path: string,
  options: Record<string, unknown>,
  shared: boolean,
  sources: OptionSources,
  notes: Notes,
): { location: PostgresLocation; fields: ServerFields } {
  for (const [name, value] of Object.entries(options)) {
    refuseClient(`${path}.${name}`, value);
  }
  const section: PostgresSection = openSection(path, options, shared ? SHARED : OWN, notes);
  const given = section.find('url');
  const url = given.value === undefined ? fromParts(section, given) : fromUrl(section, given);
  login(section, url, given);
  database(section, url, given);
  application(section, url, given);

  const enable = pick('enableTls', sources);
  const tls = section.find('tls');
  const { secure, certificates } = resolveTls(enable, tls, hostOf(url), notes);
  encrypt(url, secure, certificates, tls.value === undefined ? enable.field : tls.field);
  const server = given.value === undefined ? section.fieldOf('host') : given.field;
  const password = section.find('password');
  return {
    location: {
      url: joinUrl(url),
      schema: section.required('schema', 'a name', DEFAULT_SCHEMA, schema),
      maxConnections: section.required('maxConnections', 'a number', DEFAULT_CONNECTIONS, (found) =>
        wholeNumber(found, 1, MAX_CONNECTIONS, 'connections'),
      ),
      ...(certificates !== undefined && { tls: certificates }),
    },
    fields: {
      server,
      login: given.value !== undefined && password.value === undefined ? given.field : password.field,
      tls: tls.value === undefined && given.value !== undefined ? given.field : tls.field,
    },
  };
}

function fromUrl(section: PostgresSection, { field, value }: Found): ServerUrl {
  for (const name of ['host', 'port'] as const) {
    const extra = section.find(name);
    if (extra.value !== undefined) {
      throw new ConfigError(extra.field, `cannot be given together with ${field}`);
    }
  }
  if (typeof value !== 'string' || !SCHEME.test(value)) {
    throw refuse(field, URL_SHAPE, value);
  }
  const url = splitUrl(value);
  if (url.query.some(([name]) => name === 'host' || name === 'hostaddr') && url.path === '') {
    url.path = '/';
  }
  return url;
}

function fromParts(section: PostgresSection, given: Found): ServerUrl {
  const url: ServerUrl = { scheme: 'postgres', username: '', password: '', hosts: '', path: '/', query: [] };
  const host = section.find('host');
  const empty = [given, host].find(({ named, value }) => named && value === undefined);
  if (host.value === undefined && empty !== undefined) {
    throw unset(empty.field, empty === given ? URL_SHAPE : 'where PostgreSQL is');
  }
  const name = host.value === undefined ? DEFAULT_HOST : text(host.field, host.value);
  const port = section.required('port', 'a port', undefined, (found) =>
    wholeNumber(found, 1, MAX_PORT, 'a port'),
  );
  // The folder of a socket.
  if (name.startsWith('/')) {
    url.query.push(['host', encodeURIComponent(name)]);
    if (port !== undefined) {
      url.query.push(['port', String(port)]);
    }
    return url;
  }
  const bracketed = name.includes(':') && !name.startsWith('[') ? `[${name}]` : name;
  return { ...url, hosts: port === undefined ? bracketed : `${bracketed}:${port}` };
}

/** User name and password of options, in a URL that may say them as well. */
function login(section: PostgresSection, url: ServerUrl, given: Found): void {
  for (const name of ['username', 'password'] as const) {
    const { field, value } = section.find(name);
    // Empty is none, as it is for other clients: a server that wants one says so.
    if (value === undefined) {
      continue;
    }
    if (url[name] !== '' && decoded(url[name]) !== value) {
      throw new ConfigError(field, `differs from the one in ${given.field}; give it in one place`);
    }
    url[name] = encodeURIComponent(text(field, value));
  }
}

function database(section: PostgresSection, url: ServerUrl, given: Found): void {
  const { field, named, value } = section.find('database');
  if (value === undefined) {
    if (named && given.value === undefined) {
      throw unset(field, 'the name of a database');
    }
    return;
  }
  const name = text(field, value);
  const said = decoded(url.path.slice(1));
  if (said !== '' && said !== name) {
    throw new ConfigError(field, `differs from the one in ${given.field}; give it in one place`);
  }
  url.path = `/${encodeURIComponent(name)}`;
}

function application(section: PostgresSection, url: ServerUrl, given: Found): void {
  const { field, value } = section.find('applicationName');
  if (value === undefined) {
    return;
  }
  const encoded = encodeURIComponent(text(field, value));
  const said = url.query.find(([name]) => name === 'application_name');
  if (said !== undefined && decoded(said[1]) !== value) {
    throw new ConfigError(field, `differs from the one in ${given.field}; give it in one place`);
  }
  if (said === undefined) {
    url.query.push(['application_name', encoded]);
  }
}

/** Says in the URL what the options want, where the URL does not say it. */
function encrypt(
  url: ServerUrl,
  secure: boolean | undefined,
  certificates: TlsCertificates | undefined,
  field: string,
): void {
  const said = url.query.find(([name]) => ['sslmode', 'ssl', 'sslaccept'].includes(name));
  if (secure === undefined) {
    return;
  }
  if (said === undefined) {
    // With certificates the core knows what is to be proved.
    const proof = certificates?.insecure === true ? 'require' : 'verify-full';
    url.query.push(['sslmode', secure ? proof : 'disable']);
    return;
  }
  const off = said[1] === 'disable' || (said[0] === 'ssl' && ['false', '0'].includes(said[1]));
  if (secure === off) {
    throw new ConfigError(field, `is ${secure}, but the URL says ${said[0]}=${said[1]}`);
  }
}

function hostOf(url: ServerUrl): string | undefined {
  return /^[^,]+$/.test(url.hosts) ? url.hosts.replace(/:\d+$/, '') : undefined;
}

function schema({ field, value }: Found): string {
  const name = text(field, value);
  if (Buffer.byteLength(name) > 63 || name.startsWith('pg_') || name.includes('\0')) {
    throw new ConfigError(field, 'expected a name of at most 63 bytes that does not begin with pg_');
  }
  return name;
}
