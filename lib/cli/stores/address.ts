import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError } from '../../errors.js';
import { type ServerUrl, splitUrl } from '../../options/url.js';
import { CliError, usage } from '../errors.js';
import { type ForeignAddress, LIBRARIES, libraryOf, readForeign } from './foreign/address.js';
import {
  given,
  hasPassword,
  type Sealing,
  server,
  type Taken,
  takeOptions,
  withoutPassword,
} from './server-url.js';

/** Where sessions are, as a user names it. */
export type Address =
  | {
      kind: 'embedded' | 'redis' | 'mongodb' | 'postgres' | 'hybrid';
      shown: string;
      options: Record<string, unknown>;
      security: Sealing;
    }
  | { kind: 'multi-file'; shown: string; folder: string }
  | { kind: 'json'; shown: string; file: string }
  | ForeignAddress;

/** Stores that this release can open, for errors. */
const KNOWN = [
  './folder',
  'redis://',
  'rediss://',
  'mongodb://',
  'mongodb+srv://',
  'postgres://',
  'hybrid:redis://…+mongodb://…',
  'hybrid:redis://…+postgres://…',
  'multi-file:./folder',
  'json:./file.json',
  ...LIBRARIES.map(({ example }) => example),
].join(', ');

/** Named in a URL as they will be once they can be read. */
const LATER = /^evolution$/;

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
  const library = libraryOf(scheme, rest);
  if (library !== undefined) {
    return readForeign(option, library.name, library.rest);
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
    case 'postgres':
    case 'postgresql':
      return postgres(text);
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

/** `schema` is what an ORM's URL calls its own: ours has the store's name in front. */
const POSTGRES_OPTIONS = { vaultSchema: 'schema', tlsCa: 'ca', tlsCert: 'cert', tlsKey: 'key' };

function redis(text: string): Address {
  const { options, security, url } = server(text, REDIS_OPTIONS);
  return { kind: 'redis', shown: withoutPassword(text), options: { redisUrl: url, ...options }, security };
}

function mongo(text: string): Address {
  const { options, security, url } = server(text, MONGO_OPTIONS);
  return { kind: 'mongodb', shown: withoutPassword(text), options: { mongoUrl: url, ...options }, security };
}

function postgres(text: string): Address {
  const { options, security, url } = server(text, POSTGRES_OPTIONS);
  return {
    kind: 'postgres',
    shown: withoutPassword(text),
    options: { postgresUrl: url, ...options },
    security,
  };
}

function hybrid(option: string, text: string): Address {
  const at = text.search(/\+(mongodb(\+srv)?|postgres(ql)?):\/\//i);
  if (at < 0) {
    throw usage(`${option}: expected hybrid:redis://…+mongodb://… or hybrid:redis://…+postgres://…`);
  }
  const [front, behind] = [text.slice(0, at), text.slice(at + 1)];
  if (!REDIS.test(SCHEME.exec(front)?.[1]?.toLowerCase() ?? '')) {
    throw usage(`${option}: expected redis:// or rediss:// behind hybrid:`);
  }
  const one = server(front, REDIS_OPTIONS);
  const isMongo = /^mongodb/i.test(behind);
  const other = server(behind, isMongo ? MONGO_OPTIONS : POSTGRES_OPTIONS);
  const { prefix, tls: redisTls } = one.options;
  return {
    kind: 'hybrid',
    shown: `hybrid:${withoutPassword(front)}+${withoutPassword(behind)}`,
    options: given({
      redisUrl: one.url,
      redisPrefix: prefix,
      redisTls,
      ...(isMongo ? mongoPrimary(other) : postgresPrimary(other)),
    }),
    security: { ...one.security, ...other.security },
  };
}

const mongoPrimary = ({ url, options }: Taken & { url: string }): Record<string, unknown> => ({
  mongoUrl: url,
  mongoDatabase: options.databaseName,
  mongoCollection: options.collectionName,
  mongoTls: options.tls,
});

const postgresPrimary = ({ url, options }: Taken & { url: string }): Record<string, unknown> => ({
  postgresUrl: url,
  postgresSchema: options.schema,
  postgresTls: options.tls,
});

function refuseOthers(option: string, { query }: ServerUrl): void {
  const other = query[0]?.[0];
  if (other !== undefined) {
    throw usage(
      `${option}: ${JSON.stringify(other)} is no option of a folder`,
      'Known: durability, encryptionAlgorithm, compressionAlgorithm',
    );
  }
}
