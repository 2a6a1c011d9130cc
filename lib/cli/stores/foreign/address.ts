/** Stores of other libraries, as a user names them: the library, a colon, and where its store is. They are sources only. */
import { resolve } from 'node:path';
import { usage } from '../../errors.js';
import { server, withoutPassword } from '../server-url.js';

/** A library whose stores can be read, and how one is named. */
interface Library {
  name: LibraryName;
  /** How an address of one looks, for people. */
  example: string;
  about: string;
  /** What in a store is a session, for who finds none. */
  session: string;
  of: 'redis' | 'mongodb' | 'path';
  /** Options in the query of a URL. */
  options: readonly string[];
}

export type LibraryName =
  | 'baileys-redis-auth'
  | 'luoarch-redis'
  | 'luoarch-mongodb'
  | 'fazer'
  | 'mongo-baileys'
  | 'sqlite';

export const LIBRARIES: readonly Library[] = [
  {
    name: 'sqlite',
    example: 'sqlite:./auth.db',
    about: "Baileys' coming useSqliteAuthState, or a folder of its files",
    session: 'a file (.db, .sqlite, .sqlite3) with a table signal_keys',
    of: 'path',
    options: [],
  },
  {
    name: 'baileys-redis-auth',
    example: 'baileys-redis-auth:redis://…',
    about: 'baileys-redis-auth, hashes and keys',
    session:
      'a key <session>:auth, authState:<session> or <session>:creds in the database of the URL; see keyPrefix',
    of: 'redis',
    options: ['session', 'layout', 'keyPrefix'],
  },
  {
    name: 'fazer',
    example: 'fazer:redis://…',
    about: 'baileys-api of fazer-ai',
    session: 'a key @baileys-api:connections:<phone>:authState in the database of the URL; see keyPrefix',
    of: 'redis',
    options: ['session', 'keyPrefix'],
  },
  {
    name: 'mongo-baileys',
    example: 'mongo-baileys:mongodb://…',
    about: 'mongo-baileys, a collection for each session',
    session: 'a collection with a document auth_creds in the database of the URL',
    of: 'mongodb',
    options: ['databaseName', 'collectionName'],
  },
  {
    name: 'luoarch-redis',
    example: 'luoarch-redis://…',
    about: '@luoarch/baileys-store-core in Redis',
    session: 'a key baileys:auth:<session>:creds in the database of the URL',
    of: 'redis',
    options: ['session'],
  },
  {
    name: 'luoarch-mongodb',
    example: 'luoarch-mongodb://…',
    about: '@luoarch/baileys-store-core in MongoDB',
    session: 'a document of the collection that the program names (collectionName)',
    of: 'mongodb',
    options: ['databaseName', 'collectionName'],
  },
];

/** The scheme of a server's URL with a library's name in front, as in `luoarch-rediss://`. */
const WITH_SERVER = /^luoarch-((rediss?|valkeys?|unix)([+-](sentinel|cluster))?|mongodb(\+srv)?)$/;

/** Where another library's store is. */
export interface ForeignAddress {
  kind: 'foreign';
  library: LibraryName;
  shown: string;
  /** A server's URL, which may hold a password, or the path of a file or folder. */
  place: string;
  /** What the query says, by the names of the library's row above. */
  choices: Readonly<Record<string, string>>;
  /** Paths of PEM files. */
  tls: { ca?: string; cert?: string; key?: string } | undefined;
}

/** The library that an address is of, and the rest of it; undefined if it is of none. */
export function libraryOf(scheme: string, rest: string): { name: LibraryName; rest: string } | undefined {
  const server = WITH_SERVER.exec(scheme)?.[1];
  if (server !== undefined) {
    const name = server.startsWith('mongodb') ? 'luoarch-mongodb' : 'luoarch-redis';
    return { name, rest: `${server}:${rest}` };
  }
  const name = LIBRARIES.find((library) => library.name === scheme)?.name;
  return name && { name, rest };
}

/** What is a session in a store of that library. */
export const sessionOf = (name: LibraryName): string =>
  (LIBRARIES.find((library) => library.name === name) as Library).session;

const TLS_OPTIONS = { tlsCa: 'ca', tlsCert: 'cert', tlsKey: 'key' };
const SCHEMES = {
  redis: /^(rediss?|valkeys?|unix)([+-](sentinel|cluster))?:\/\//i,
  mongodb: /^mongodb(\+srv)?:\/\//i,
};

/**
 * @param option what the address was given by, for errors
 * @param rest the address behind the library's name
 */
export function readForeign(option: string, name: LibraryName, rest: string): ForeignAddress {
  const { of, options, example } = LIBRARIES.find((library) => library.name === name) as Library;
  if (of === 'path') {
    if (rest === '') {
      throw usage(`${option} needs a path: ${example}`);
    }
    return {
      kind: 'foreign',
      library: name,
      shown: `${name}:${rest}`,
      place: resolve(rest),
      choices: {},
      tls: undefined,
    };
  }
  if (!SCHEMES[of].test(rest)) {
    throw usage(`${option}: expected ${example}`);
  }
  const names = { ...Object.fromEntries(options.map((known) => [known, known])), ...TLS_OPTIONS };
  const { options: taken, url } = server(rest, names);
  const { tls, ...choices } = taken as Record<string, string> & { tls?: ForeignAddress['tls'] };
  return {
    kind: 'foreign',
    library: name,
    shown: example.startsWith(`${name}://`)
      ? `luoarch-${withoutPassword(rest)}`
      : `${name}:${withoutPassword(rest)}`,
    place: url,
    choices,
    tls,
  };
}
