/** The parts of a server's URL. A list of hosts is no URL to the usual parsers. */
export interface ServerUrl {
  scheme: string;
  username: string;
  password: string;
  hosts: string;
  /** With its slash, or empty. */
  path: string;
  /** Still encoded; names may come twice. */
  query: [name: string, value: string][];
}

/** Reads a URL of which the scheme is known to be there. User name and password stay as they are encoded. */
export function splitUrl(url: string): ServerUrl {
  const start = url.indexOf('://');
  const [rest = '', query = ''] = cut(url.slice(start + 3).trimEnd(), '?');
  const slash = rest.indexOf('/', Math.max(rest.lastIndexOf('@'), 0));
  const authority = slash < 0 ? rest : rest.slice(0, slash);
  const at = authority.lastIndexOf('@');
  const [username = '', password = ''] = cut(at < 0 ? '' : authority.slice(0, at), ':');
  return {
    scheme: url.slice(0, start).trim().toLowerCase(),
    username,
    password,
    hosts: authority.slice(at + 1),
    path: slash < 0 ? '' : rest.slice(slash),
    query: query
      .split('&')
      .filter(Boolean)
      .map((pair): [string, string] => {
        const [name = '', value = ''] = cut(pair, '=');
        return [name, value];
      }),
  };
}

export function joinUrl({ scheme, username, password, hosts, path, query }: ServerUrl): string {
  const login = password === '' ? username : `${username}:${password}`;
  const options = query.map(([name, value]) => `${name}=${value}`).join('&');
  // What follows the hosts needs its slash before options may come.
  const end = options === '' ? path : `${path === '' ? '/' : path}?${options}`;
  return `${scheme}://${login === '' ? '' : `${login}@`}${hosts}${end}`;
}

/** Percent-decodes, or gives the text as it is where that cannot be done: the core then says what is wrong. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function cut(text: string, at: string): [string, string?] {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}
