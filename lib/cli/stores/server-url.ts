/** URLs of servers with options of our own in the query, and their passwords. */
import { decoded, joinUrl, type ServerUrl, splitUrl } from '../../options/url.js';

/** How new records are sealed; part of an address, so that two stores of one command may differ. */
export interface Sealing {
  encryptionAlgorithm?: string;
  compressionAlgorithm?: string;
}

export const given = (options: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

export interface Taken {
  options: Record<string, unknown>;
  security: Sealing;
}

/** Our own options of a URL, and the URL without them: what else is in its query is for the server's client. */
export function server(text: string, names: Readonly<Record<string, string>>): Taken & { url: string } {
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

export function takeOptions(url: ServerUrl, names: Readonly<Record<string, string>>): Taken {
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

const SECRET = /password|passwd|passphrase/i;
const PARTS = /\+(?=(?:mongodb(?:\+srv)?|postgres(?:ql)?):\/\/)/i;
/** What may stand in front of a URL: `hybrid:`, or a library. */
const IN_FRONT = /^[a-z-]+:(?=[a-z+-]+:\/\/)/i;

/** The servers' URLs in an address: of `hybrid:` there are two. */
const urlsIn = (text: string): string[] =>
  text
    .replace(IN_FRONT, '')
    .split(PARTS)
    .filter((part) => part?.includes('://') === true);

export function hasPassword(text: string): boolean {
  return urlsIn(text).some((part) => {
    const { password, query } = splitUrl(part);
    return password !== '' || query.some(([name]) => SECRET.test(name));
  });
}

/** A server's URL as it may be shown. */
export function withoutPassword(text: string): string {
  const url = splitUrl(text);
  return joinUrl({
    ...url,
    password: url.password === '' ? '' : '***',
    query: url.query.map(([name, value]) => [name, SECRET.test(name) ? '***' : value]),
  });
}
