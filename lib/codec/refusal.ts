import { ValueError } from '../errors.js';

/** A path longer than this is shortened in the middle. */
const MAX_SEGMENTS = 24;
const MAX_KEY_LENGTH = 80;

/**
 * A value being refused, on its way up through the containers that hold it: each adds its key, so that the path
 * costs nothing until something is refused.
 */
export class Refusal {
  private readonly keys: (string | number)[] = [];
  private readonly holders: object[] = [];

  constructor(
    private readonly reason: string,
    private readonly cause?: unknown,
  ) {}

  /** `error` as a refusal: itself, or wrapped when a getter, toJSON or proxy of the value threw it. */
  static from(error: unknown): Refusal {
    return error instanceof Refusal
      ? error
      : new Refusal('reading it threw (getter, toJSON or proxy)', error);
  }

  within(holder: object, key: string | number): this {
    this.keys.push(key);
    this.holders.push(holder);
    return this;
  }

  /** The public error, its path starting at `root`. */
  toError(root: string): ValueError {
    const keys = this.keys.reverse();
    const holders = this.holders.reverse();
    const seen = new Map<object, number>();
    for (const [index, holder] of holders.entries()) {
      const first = seen.get(holder);
      if (first !== undefined) {
        const back = renderPath(root, keys.slice(0, first)) || 'the value itself';
        return new ValueError(renderPath(root, keys.slice(0, index)), `a cycle: it leads back to ${back}`);
      }
      seen.set(holder, index);
    }
    return new ValueError(renderPath(root, keys), this.reason, this.cause);
  }
}

/** `root` followed by keys: `root.name`, `root["other name"]`, `root[3]`. */
export function renderPath(root: string, keys: readonly (string | number)[]): string {
  let path = root;
  const half = MAX_SEGMENTS / 2;
  for (const [index, key] of keys.entries()) {
    if (keys.length > MAX_SEGMENTS && index >= half && index < keys.length - half) {
      path += index === half ? '…' : '';
    } else if (typeof key === 'number') {
      path += `[${key}]`;
    } else if (/^[A-Za-z_$][\w$]{0,79}$/.test(key)) {
      path += path === '' ? key : `.${key}`;
    } else {
      path += `[${JSON.stringify(key.length > MAX_KEY_LENGTH ? `${key.slice(0, MAX_KEY_LENGTH)}…` : key)}]`;
    }
  }
  return path;
}
