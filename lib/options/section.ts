import type { Dialect } from '../compat/dialects/names.js';
import { ConfigError } from '../errors.js';
import { type Found, integer, isEmpty, join } from './check.js';

/** What is logged once about the program's options. */
export interface Notes {
  /** Options that have no effect here, each with where its meaning went. */
  idle: string[];
  /** What lowers a guarantee. */
  warnings: string[];
}

/** Which options errors of a server are about. */
export interface ServerFields {
  server: string;
  login: string;
  tls: string;
}

/**
 * A dialect's names as a section writes them: as they are in a section of the server's own, behind the server's name in
 * one that two servers share.
 */
export interface Spelling<Name extends string> {
  readonly names: Readonly<Record<Name, readonly string[]>>;
  readonly idle: ReadonlyMap<string, string>;
  readonly unsupported: ReadonlyMap<string, string>;
}

/** To be called once for each: programs with thousands of sessions read their options as often. */
export function spell<Name extends string>(
  { names, idle, unsupported }: Dialect<Name>,
  server: 'redis' | 'mongo' | 'postgres',
  shared: boolean,
): Spelling<Name> {
  const each = (hints: Readonly<Record<string, string>>): Map<string, string> =>
    new Map(
      Object.entries(hints).flatMap(([name, instead]) =>
        namesIn([name], server, shared).map((key): [string, string] => [key, instead]),
      ),
    );
  const spelled = Object.entries<readonly string[]>(names).map(([name, all]) => [
    name,
    namesIn(all, server, shared),
  ]);
  return {
    names: Object.fromEntries(spelled) as Record<Name, string[]>,
    idle: each(idle),
    unsupported: each(unsupported),
  };
}

/** One server's options in a section. */
export class Section<Name extends string> {
  constructor(
    readonly path: string,
    readonly options: Record<string, unknown>,
    private readonly names: Readonly<Record<Name, readonly string[]>>,
  ) {}

  /** The option's own field, as it would be written here. */
  fieldOf(name: Name): string {
    return join(this.path, this.names[name][0] as string);
  }

  /** @throws ConfigError when two of its names are given with different values */
  find(name: Name): Found {
    let found: Found | undefined;
    let empty: Found | undefined;
    for (const key of this.names[name]) {
      if (!Object.hasOwn(this.options, key)) {
        continue;
      }
      const option = { field: join(this.path, key), value: this.options[key], named: true };
      if (isEmpty(option.value)) {
        empty ??= { ...option, value: undefined };
      } else if (found !== undefined && found.value !== option.value) {
        throw new ConfigError(option.field, `differs from ${found.field}; give it in one place`);
      } else {
        found ??= option;
      }
    }
    return found ?? empty ?? { field: this.fieldOf(name), value: undefined, named: false };
  }

  /** An option that `otherwise` stands for where it is absent, but not where it is named and empty. */
  required<T>(name: Name, expected: string, otherwise: T, check: (found: Found) => T): T {
    const found = this.find(name);
    if (found.value !== undefined) {
      return check(found);
    }
    if (found.named) {
      throw unset(found.field, expected);
    }
    return otherwise;
  }
}

/** Names of an option in a section of its server's own, or in one that two servers share. */
export function namesIn(names: readonly string[], server: string, shared: boolean): string[] {
  const prefixed = names.map((name) =>
    name.startsWith(server) ? name : `${server}${name.charAt(0).toUpperCase()}${name.slice(1)}`,
  );
  return [...new Set(shared ? prefixed : [...names, ...prefixed])];
}

/** For an option that says where a session is and holds nothing: the default would be another server or folder. */
export function unset(field: string, expected: string, otherwise = ', or leave the option out'): ConfigError {
  return new ConfigError(
    field,
    `is named but empty, as where its environment variable is not set: expected ${expected}${otherwise}`,
  );
}

/**
 * The section of a server. Options that the spelling knows as idle are noted.
 *
 * @throws ConfigError for an option that it knows as unsupported
 */
export function openSection<Name extends string>(
  path: string,
  options: Record<string, unknown>,
  { names, idle, unsupported }: Spelling<Name>,
  notes: Notes,
): Section<Name> {
  for (const [key, value] of Object.entries(options)) {
    const missing = unsupported.get(key);
    if (missing !== undefined && value !== undefined && value !== null && value !== false) {
      throw new ConfigError(join(path, key), `is not supported here: ${missing}`);
    }
    const instead = idle.get(key);
    if (instead !== undefined && value !== undefined) {
      notes.idle.push(idleNote(join(path, key), instead));
    }
  }
  return new Section(path, options, names);
}

/** Every name that an option of a server may have in its section. */
export const allNames = ({ names, idle, unsupported }: Spelling<string>): string[] => [
  ...Object.values(names).flat(),
  ...idle.keys(),
  ...unsupported.keys(),
];

/** A whole number, also as the text that environment variables hold. */
export function wholeNumber({ field, value }: Found, min: number, max: number, unit: string): number {
  return integer(
    field,
    typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value,
    min,
    max,
    unit,
  );
}

export const idleNote = (what: string, instead: string): string =>
  instead === '' ? what : `${what} (${instead})`;

/** The texts to be heard, one for all that has no effect. */
export function notices({ idle, warnings }: Notes): string[] {
  return idle.length === 0 ? warnings : [`options that have no effect here: ${idle.join(', ')}`, ...warnings];
}
