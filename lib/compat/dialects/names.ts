/** The names of one option, the documented one first. */
export type Names = readonly [string, ...string[]];

/** By an option's name: which option of ours to use instead, or why it is not needed. May be empty. */
export type Hints = Readonly<Record<string, string>>;

/** What the options of one server may be called: ours, and those of its usual clients. */
export interface Dialect<Name extends string> {
  /** By an option that has an effect. */
  readonly names: Readonly<Record<Name, Names>>;
  /** Options that are accepted and change nothing. */
  readonly idle: Hints;
  /** Options that ask for what this store does not do. */
  readonly unsupported: Hints;
}
