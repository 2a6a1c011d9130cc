import type { Core } from './core.js';

/**
 * The native core as napi-rs declares it: `npm run build:native` writes `core.d.ts` from the Rust sources. The shapes of
 * requests and completions are in `completion.ts`.
 */
export type NativeCore = Core;

/** The class that the native module exports. */
export type NativeCoreClass = typeof Core;

/** What the core takes for "none" where it takes a number. */
export const NONE = -1;
