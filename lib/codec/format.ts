/**
 * Constants of the stored value format; `docs/internals/format.md` is the specification. Stored bytes outlive releases:
 * a tag, once released, keeps its meaning, and new meanings take unused tags or a new version byte.
 */

/** First byte of every stored value. */
export const FORMAT_VERSION = 1;

/** Containers nested deeper than this are refused, so that neither side can overflow its stack. */
export const MAX_DEPTH = 512;

/** Largest encoded value or frame, in bytes. Below 2^29, so that sizes with two flag bits stay small integers. */
export const MAX_SIZE = 256 * 1024 * 1024;

/**
 * Most values in one, itself and all nested ones counted. Two bytes can spell a Buffer or an object, which takes the
 * engine a hundred: without a bound, a record of some kilobytes could take all memory when it is read.
 */
export const MAX_VALUES = 1024 * 1024;

export const TAG_NULL = 0x00;
export const TAG_FALSE = 0x01;
export const TAG_TRUE = 0x02;
export const TAG_POSITIVE = 0x03;
export const TAG_NEGATIVE = 0x04;
export const TAG_DOUBLE = 0x05;
export const TAG_BIGINT = 0x06;
export const TAG_STRING = 0x07;
export const TAG_BYTES = 0x08;
export const TAG_ARRAY = 0x09;
export const TAG_OBJECT = 0x0a;
/** 0x40 + length: a string of 0 to 63 UTF-16 units. */
export const TAG_SHORT_STRING = 0x40;
/** 0x80 + value: an integer of 0 to 63. */
export const TAG_SMALL_INT = 0x80;
/** First tag above the small integers. */
export const TAG_SMALL_INT_END = 0xc0;

/** In place of a key: the object ends here. */
export const KEY_END = 0x00;
/** In place of a key: a varint length follows, and the key's text is in the string pool. */
export const KEY_TEXT = 0x01;
/** Key byte of the dictionary's first entry. */
export const KEY_FIRST = 0x02;
/** One past the last key byte the dictionary may use; 0xff is kept back for a longer dictionary. */
export const KEY_LIMIT = 0xff;

/** One byte per UTF-16 unit (ISO-8859-1). */
export const POOL_LATIN1 = 0;
export const POOL_UTF8 = 1;
/** Two bytes per unit, little-endian: the only one that can hold lone surrogates. */
export const POOL_UTF16 = 2;
