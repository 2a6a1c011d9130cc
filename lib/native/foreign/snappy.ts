import { coreThread } from '../thread.js';

/** What was packed in Snappy's raw format; undefined if these bytes are not that. */
export const unpackSnappy = (packed: Buffer): Buffer | undefined =>
  coreThread().core.foreignUnpackSnappy(packed) ?? undefined;
