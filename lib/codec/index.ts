export { CorruptRecordError, ValueError } from '../errors.js';
export { legacyBytes, reviveBufferJson } from './buffer-json.js';
export { decodeValue } from './decoder.js';
export {
  decodeAnswer,
  encodeGet,
  encodePatch,
  encodeRecords,
  encodeValue,
  type RecordEntry,
} from './frame.js';
export { Scratch } from './scratch.js';
export { describe, isPlainObject } from './shape.js';
