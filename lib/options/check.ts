import { isDeepStrictEqual } from 'node:util';
import { isWellFormed } from '../codec/index.js';
import { ConfigError } from '../errors.js';

/** What a wrong value is, without showing it: it may be a secret that slipped into the wrong field. */
function describe(value: unknown): string {
  if (value === null || value === undefined) {
    return String(value);
  }
  if (typeof value === 'number' || typeof value === 'boolean') {
    return String(value);
  }
  if (typeof value === 'object') {
    return Array.isArray(value) ? 'an array' : 'an object';
  }
  return value === '' ? 'an empty string' : `a ${typeof value}`;
}

export function refuse(field: string, expected: string, value: unknown): ConfigError {
  return new ConfigError(field, `expected ${expected}`, { got: describe(value) });
}

/** What an environment variable that is not set, or set to nothing, leaves of an option. */
export const isEmpty = (value: unknown): boolean => value === undefined || value === null || value === '';

/** `name` within `path`; the outermost options have no path of their own. */
export const join = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);

/**
 * The options at `path` as an object with none but `known` fields, `{}` when absent.
 *
 * @param also accepted too, but not listed in the error about an unknown name
 * @throws ConfigError naming the first unknown field, and the known one that it looks like
 */
export function fields(
  path: string,
  value: unknown,
  known: readonly string[],
  also: readonly string[] = [],
): Record<string, unknown> {
  if (value === undefined) {
    return {};
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(path === '' ? 'options' : path, 'an object', value);
  }
  const found = value as Record<string, unknown>;
  for (const name of Object.keys(found)) {
    if (found[name] !== undefined && !known.includes(name) && !also.includes(name)) {
      const near = [...known, ...also].find((candidate) => alike(candidate, name));
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      throw new ConfigError(join(path, name), `unknown option; known here: ${known.join(', ')}${hint}`);
    }
  }
  return found;
}

/** Whether two names differ by no more than case, or the server's name in front. */
function alike(known: string, given: string): boolean {
  const [one, other] = [known.toLowerCase(), given.toLowerCase()];
  return one === other || one === `redis${other}` || one === `mongo${other}` || one === `postgres${other}`;
}

export function text(field: string, value: unknown, expected = 'a non-empty string'): string {
  if (typeof value !== 'string' || value === '') {
    throw refuse(field, expected, value);
  }
  if (!isWellFormed(value)) {
    throw new ConfigError(field, 'expected well-formed Unicode', { got: 'a lone surrogate' });
  }
  return value;
}

export function flag(field: string, value: unknown): boolean {
  if (typeof value !== 'boolean') {
    throw refuse(field, 'true or false', value);
  }
  return value;
}

export function integer(field: string, value: unknown, min: number, max: number, unit: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
    throw refuse(field, `a whole number from ${min} to ${max} (${unit})`, value);
  }
  return value as number;
}

export function decimal(field: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) {
    throw refuse(field, `a number from ${min} to ${max}`, value);
  }
  return value;
}

export function oneOf<T extends string>(field: string, value: unknown, choices: readonly T[]): T {
  if (!choices.includes(value as T)) {
    throw refuse(field, choices.map((choice) => `'${choice}'`).join(' or '), value);
  }
  return value as T;
}

// biome-ignore lint/complexity/noBannedTypes: a callback of any shape; the option's own type narrows it
export function callback(field: string, value: unknown): Function {
  if (typeof value !== 'function') {
    throw refuse(field, 'a function', value);
  }
  return value;
}

/** `value` through `check`, or `otherwise` when absent. */
export function optional<T, D>(value: unknown, otherwise: D, check: (value: unknown) => T): T | D {
  return value === undefined ? otherwise : check(value);
}

/** An option with the path it was found at. */
export interface Found {
  field: string;
  value: unknown;
  /** Whether the name is given at all, even as undefined, which is what an unset environment variable leaves. */
  named: boolean;
}

/**
 * The option `name` from whichever of `sources` has it. Where two have it, they must agree.
 *
 * @throws ConfigError naming both fields
 */
export function pick(
  name: string,
  sources: readonly { path: string; options: Record<string, unknown> }[],
): Found {
  let found: Found | undefined;
  let empty: Found | undefined;
  for (const { path, options } of sources) {
    const value = options[name];
    const field = join(path, name);
    if (value === undefined) {
      if (Object.hasOwn(options, name)) {
        empty ??= { field, value, named: true };
      }
      continue;
    }
    if (found !== undefined && !isDeepStrictEqual(found.value, value)) {
      throw new ConfigError(field, `differs from ${found.field}; give it in one place`);
    }
    found ??= { field, value, named: true };
  }
  return found ?? empty ?? { field: join(sources[0]?.path ?? '', name), value: undefined, named: false };
}
