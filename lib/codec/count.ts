import * as format from './format.js';

const {
  KEY_END,
  KEY_TEXT,
  MAX_DEPTH,
  MAX_VALUES,
  TAG_ARRAY,
  TAG_BIGINT,
  TAG_BYTES,
  TAG_DOUBLE,
  TAG_NEGATIVE,
  TAG_OBJECT,
  TAG_POSITIVE,
  TAG_STRING,
} = format;

/** In place of how many values of a container are left: an object, which says itself where it ends. */
const OBJECT = -1;

/**
 * Whether the structure in `bytes[start, end)` spells more than MAX_VALUES values, found out without making any of
 * them. Of a malformed one it looks at what comes before the damage.
 *
 * Each value takes a byte at least, so a structure of no more than MAX_VALUES bytes need not be looked at.
 */
export function hasTooManyValues(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start <= MAX_VALUES) {
    return false;
  }
  const open: number[] = [];
  let at = start;
  let count = 0;
  const varint = (): number => {
    let result = 0;
    for (let scale = 1; at < end; scale *= 128) {
      const byte = bytes[at++] as number;
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        break;
      }
    }
    return result;
  };
  while (at < end && open.length <= MAX_DEPTH) {
    const left = open[open.length - 1];
    if (left === OBJECT) {
      const key = bytes[at++];
      if (key === KEY_END) {
        open.pop();
        continue;
      }
      if (key === KEY_TEXT) {
        varint();
      }
    } else if (left === 0) {
      open.pop();
      continue;
    } else if (left !== undefined) {
      open[open.length - 1] = left - 1;
    }
    count += 1;
    if (count > MAX_VALUES) {
      return true;
    }
    switch (bytes[at++]) {
      case TAG_POSITIVE:
      case TAG_NEGATIVE:
      case TAG_BIGINT:
      case TAG_STRING:
      case TAG_BYTES:
        varint();
        break;
      case TAG_DOUBLE:
        at += 8;
        break;
      case TAG_ARRAY:
        open.push(varint());
        break;
      case TAG_OBJECT:
        open.push(OBJECT);
        break;
    }
  }
  return false;
}
