/** Names of `@luoarch/baileys-store-core` for what this store does not do, or does without being told. */

/** Compression that it offers and this store does not. */
export const UNSUPPORTED_COMPRESSION = 'lz4';

/** Options of its hybrid store that are checked and change nothing. */
export const IDLE_HYBRID_OPTIONS = {
  /** Entries are applied at once, so the delay asked for is always kept: nothing to note. */
  writeBehindFlushInterval: { max: 86_400_000, unit: 'milliseconds', hint: undefined },
  writeBehindQueueSize: {
    max: 2 ** 40,
    unit: 'entries',
    hint: 'an entry is never dropped; outboxLimit bounds what is pending, in bytes',
  },
} as const;
