import type { Capabilities, ConformanceOptions } from './types.js';
import type { Workbench } from './workbench.js';

/** One thing that a store must do. */
export interface Case {
  /** Stable: lists of known failures name it. */
  id: string;
  /** What the store does when it passes. */
  title: string;
  /** The capability without which the case is not for this store. */
  capability?: keyof Capabilities;
  /** The option without which the case cannot be run. */
  needs?: 'crash' | 'damage';
  timeoutMs?: number;
  run(bench: Workbench): Promise<void>;
}

/** Why the case is not for this store, if it is not. */
export function whyNot({ capability, needs }: Case, options: ConformanceOptions): string | undefined {
  if (capability !== undefined && options.capabilities?.[capability] !== true) {
    return `capability ${capability} is not claimed`;
  }
  if (needs !== undefined && options[needs] === undefined) {
    return `no option ${needs}`;
  }
  return undefined;
}
