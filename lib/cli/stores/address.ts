import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../../errors.js';
import { decoded, joinUrl, type ServerUrl, splitUrl } from '../../options/url.js';
import { CliError, usage } from '../errors.js';

/** Where sessions are, as a user names it. */
export type Address =
  | {
      kind: 'embedded' | 'redis' | 'mongodb' | 'hybrid';
      shown: string;
      options: Record<string, unknown>;
      security: Sealing;
    }
  | { kind: 'multi-file'; shown: string; folder: string }
  | { kind: 'json'; shown: string; file: string };

/** How new records are sealed; part of an address, so that two stores of one command may differ. */
export interface Sealing {
  encryptionAlgorithm?: string;
  compressionAlgorithm?: string;
}

/** Stores that this release can open, for errors. */
const KNOWN = [
  './folder',
  'redis://',
  'rediss://',
  'mongodb://',
  'mongodb+srv://',
  'hybrid:redis://…+mongodb://…',
  'multi-file:./folder',
  'json:./file.json',
].join(', ');

/** Named in a URL as they will be once they can be read. */
const LATER =
  /^(postgres|postgresql|sqlite|luoarch-redis|luoarch-mongodb|baileys-redis-auth|fazer|mongo-baileys|evolution)$/;

const SCHEME = /^([a-z][a-z0-9+.-]+):/i;
const REDIS = /^(rediss?|valkeys?|unix)([+-](sentinel|cluster))?$/;

/**
 * Reads the address of a store.
 *
 * @param option what it was given by, for errors
 * @throws CliError, ConfigError, which never repeat a password
 */
export function parseAddress(option: string, text: string, env: NodeJS.ProcessEnv): Address {
  const named = /^env:(\w+)$/.exec(text)?.[1];
  if (named !== undefined) {
    return fromVariable(named, env);
  }
  const address = read(option, text);
  if (hasPassword(text)) {
    throw usage(
      `${option} holds a password: everybody on this machine sees a command line`,
      'Put the whole URL into a variable and name that: BAILEYS_VAULT_STORE, or env:NAME.',
    );
  }
  return address;
}

/** Reads the address that a variable holds; that one may have a password in it. */
export function fromVariable(name: string, env: NodeJS.ProcessEnv): Address {
  const value = env[name];
  if (value === undefined || value === '') {
    throw new ConfigError(name, value === undefined ? 'is not set' : 'is set but empty');
  }
  return read(name, value);
}

function read(option: string, text: string): Address {
  const scheme = SCHEME.exec(text)?.[1]?.toLowerCase();
  const rest = scheme === undefined ? text : text.slice(scheme.length + 1);
  if (scheme === undefined) {
    return isJson(text) ? json(text) : embedded(option, text);
  }
  if (REDIS.test(scheme)) {
    return redis(text);
  }
  switch (scheme) {
    case 'embedded':
      return embedded(option, rest);
    case 'multi-file':
      return { kind: 'multi-file', folder: resolve(path(option, rest)), shown: `multi-file:${rest}` };
    case 'json':
      return json(path(option, rest));
    case 'mongodb':
    case 'mongodb+srv':
      return mongo(text);
    case 'hybrid':
      return hybrid(option, rest);
    case 'whatsmeow':
      throw new CliError(
        'STORE_UNKNOWN',
        `${option}: a store of whatsmeow cannot be read: its rows are protobuf messages of another library, and hold no ` +
          'creds of Baileys. Such an account is paired anew',
      );
    default:
      throw new CliError(
        'STORE_UNKNOWN',
        `${option}: ${LATER.test(scheme) ? `stores of ${scheme}: are not known to this release` : `${scheme}: is no store`}`,
        `Known: ${KNOWN}`,
      );
  }
}

const isJson = (text: string): boolean =>
  text.endsWith('.json') && !(existsSync(text) && statSync(text).isDirectory());

const json = (file: string): Address => ({ kind: 'json', file: resolve(file), shown: file });

function path(option: string, text: string): string {
  if (text === '') {
    throw usage(`${option} needs a path`);
  }
  return text;
}

function embedded(option: string, text: string): Address {
  const at = text.indexOf('?');
  const folder = path(option, at < 0 ? text : text.slice(0, at));
  const url = splitUrl(`embedded://${at < 0 ? '' : text.slice(at)}`);
  const own = takeOptions(url, { durability: 'durability' });
  refuseOthers(option, url);
  return {
    kind: 'embedded',
    shown: folder,
    options: { path: resolve(folder), ...own.options },
    security: own.security,
  };
}

const REDIS_OPTIONS = { keyPrefix: 'prefix', prefix: 'prefix', tlsCa: 'ca', tlsCert: 'cert', tlsKey: 'key' };
const MONGO_OPTIONS = {
  databaseName: 'databaseName',
  collectionName: 'collectionName',
  tlsCa: 'ca',
  tlsCert: 'cert',
  tlsKey: 'key',
};

function redis(text: string): Address {
  const { options, security, url } = server(text, REDIS_OPTIONS);
  return { kind: 'redis', shown: withoutPassword(text), options: { redisUrl: url, ...options }, security };
}

function mongo(text: string): Address {
  const { options, security, url } = server(text, MONGO_OPTIONS);
  return { kind: 'mongodb', shown: withoutPassword(text), options: { mongoUrl: url, ...options }, security };
}

function hybrid(option: string, text: string): Address {
  const at = text.search(/\+mongodb(\+srv)?:\/\//i);
  if (at < 0) {
    throw usage(`${option}: expected hybrid:redis://…+mongodb://…`);
  }
  const [front, behind] = [text.slice(0, at), text.slice(at + 1)];
  if (!REDIS.test(SCHEME.exec(front)?.[1]?.toLowerCase() ?? '')) {
    throw usage(`${option}: expected redis:// or rediss:// behind hybrid:`);
  }
  const one = server(front, REDIS_OPTIONS);
  const other = server(behind, MONGO_OPTIONS);
  const { prefix, tls: redisTls } = one.options;
  const { databaseName, collectionName, tls: mongoTls } = other.options;
  return {
    kind: 'hybrid',
    shown: `hybrid:${withoutPassword(front)}+${withoutPassword(behind)}`,
    options: given({
      redisUrl: one.url,
      redisPrefix: prefix,
      redisTls,
      mongoUrl: other.url,
      mongoDatabase: databaseName,
      mongoCollection: collectionName,
      mongoTls,
    }),
    security: { ...one.security, ...other.security },
  };
}

const given = (options: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

interface Taken {
  options: Record<string, unknown>;
  security: Sealing;
}

/** Our own options of a URL, and the URL without them: what else is in its query is for the server's client. */
function server(text: string, names: Readonly<Record<string, string>>): Taken & { url: string } {
  const url = splitUrl(text);
  const { options, security } = takeOptions(url, names);
  const { ca, cert, key, ...rest } = options;
  const tls = given({ ca, cert, key });
  return {
    options: { ...rest, ...(Object.keys(tls).length > 0 && { tls }) },
    security,
    url: joinUrl(url),
  };
}

const SEALING: Readonly<Record<string, keyof Sealing>> = {
  encryptionAlgorithm: 'encryptionAlgorithm',
  compressionAlgorithm: 'compressionAlgorithm',
};

function takeOptions(url: ServerUrl, names: Readonly<Record<string, string>>): Taken {
  const taken: Taken = { options: {}, security: {} };
  url.query = url.query.filter(([name, value]) => {
    const sealing = Object.hasOwn(SEALING, name) ? SEALING[name] : undefined;
    if (sealing !== undefined) {
      taken.security[sealing] = decoded(value);
      return false;
    }
    const own = Object.hasOwn(names, name) ? names[name] : undefined;
    if (own !== undefined) {
      taken.options[own] = decoded(value);
    }
    return own === undefined;
  });
  return taken;
}

function refuseOthers(option: string, { query }: ServerUrl): void {
  const other = query[0]?.[0];
  if (other !== undefined) {
    throw usage(
      `${option}: ${JSON.stringify(other)} is no option of a folder`,
      'Known: durability, encryptionAlgorithm, compressionAlgorithm',
    );
  }
}

const SECRET = /password|passwd|passphrase/i;
const PARTS = /\+(?=mongodb(\+srv)?:\/\/)/i;

/** The servers' URLs in an address: of `hybrid:` there are two. */
const urlsIn = (text: string): string[] =>
  text
    .replace(/^hybrid:/i, '')
    .split(PARTS)
    .filter((part) => part?.includes('://') === true);

function hasPassword(text: string): boolean {
  return urlsIn(text).some((part) => {
    const { password, query } = splitUrl(part);
    return password !== '' || query.some(([name]) => SECRET.test(name));
  });
}

/** A server's URL as it may be shown. */
function withoutPassword(text: string): string {
  const url = splitUrl(text);
  return joinUrl({
    ...url,
    password: url.password === '' ? '' : '***',
    query: url.query.map(([name, value]) => [name, SECRET.test(name) ? '***' : value]),
  });
}
