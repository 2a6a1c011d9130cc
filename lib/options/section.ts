import type { Dialect, Hints, Names } from '../compat/dialects/names.js';
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

const NO_NAMES: Names = [''];

/** One server's options in a section: under their own names, or, where two servers share one, behind the server's. */
export class Section<Name extends string> {
  constructor(
    readonly path: string,
    readonly options: Record<string, unknown>,
    private readonly server: 'redis' | 'mongo',
    private readonly table: Readonly<Record<Name, Names>>,
    /** Whether it has the options of another server too. */
    readonly isShared: boolean,
  ) {}

  /** The option's own field, as it would be written here. */
  fieldOf(name: Name): string {
    return join(this.path, namesIn(this.table[name] ?? NO_NAMES, this.server, this.isShared)[0] as string);
  }

  /** @throws ConfigError when two of its names are given with different values */
  find(name: Name): Found {
    let found: Found | undefined;
    let empty: Found | undefined;
    for (const key of namesIn(this.table[name], this.server, this.isShared)) {
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
 * The section of a server. Options of `dialect` that have no effect are noted.
 *
 * @throws ConfigError for an option that the dialect knows as unsupported
 */
export function openSection<Name extends string>(
  path: string,
  options: Record<string, unknown>,
  server: 'redis' | 'mongo',
  { names, idle, unsupported }: Dialect<Name>,
  shared: boolean,
  notes: Notes,
): Section<Name> {
  refuseUnsupported(path, options, unsupported, server, shared);
  noteIdle(path, options, idle, server, shared, notes);
  return new Section(path, options, server, names, shared);
}

/** Every name that an option of a server may have in its section. */
export const allNames = (
  { names, idle, unsupported }: Dialect<string>,
  server: 'redis' | 'mongo',
  shared: boolean,
): string[] =>
  [...Object.values(names).flat(), ...Object.keys(idle), ...Object.keys(unsupported)].flatMap((name) =>
    namesIn([name], server, shared),
  );

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

/** Notes each option of `idle` that is given. */
function noteIdle(
  path: string,
  options: Record<string, unknown>,
  idle: Hints,
  server: 'redis' | 'mongo',
  shared: boolean,
  notes: Notes,
): void {
  for (const [name, instead] of Object.entries(idle)) {
    for (const key of namesIn([name], server, shared)) {
      if (options[key] !== undefined) {
        notes.idle.push(idleNote(join(path, key), instead));
      }
    }
  }
}

export const idleNote = (what: string, instead: string): string =>
  instead === '' ? what : `${what} (${instead})`;

/** @throws ConfigError for an option that is understood and cannot be had */
function refuseUnsupported(
  path: string,
  options: Record<string, unknown>,
  unsupported: Hints,
  server: 'redis' | 'mongo',
  shared: boolean,
): void {
  for (const [name, instead] of Object.entries(unsupported)) {
    for (const key of namesIn([name], server, shared)) {
      if (options[key] !== undefined && options[key] !== null && options[key] !== false) {
        throw new ConfigError(join(path, key), `is not supported here: ${instead}`);
      }
    }
  }
}

/** The texts to be heard, one for all that has no effect. */
export function notices({ idle, warnings }: Notes): string[] {
  return idle.length === 0 ? warnings : [`options that have no effect here: ${idle.join(', ')}`, ...warnings];
}
