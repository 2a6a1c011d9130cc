import type { Contender } from '../support/contenders.js';
import type { Effort, Result } from '../support/measure.js';
import type { Baileys } from '../support/packages.js';
import type { Records } from '../support/records.js';

/** What every scenario is given. */
export interface Setup {
  baileys: Baileys;
  contenders: readonly Contender[];
  records: Records;
  effort: Effort;
  /** A fast round: fewer and smaller cases. */
  quick: boolean;
  /** Tells how far it is. */
  progress(text: string): void;
  /** Tells what the reader of the results must know. */
  note(text: string): void;
}

export interface Scenario {
  id: string;
  title: string;
  /** The contender that the others' ratios are of. Default: Baileys' own files. */
  baseline?: string;
  /** Takes minutes: runs only when it is asked for by its id. */
  heavy?: boolean;
  /** Why it cannot run here, or undefined. */
  missing?(): string | undefined;
  run(setup: Setup): Promise<Result[]>;
}
