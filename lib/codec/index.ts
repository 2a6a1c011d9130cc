export { CorruptRecordError, ValueError } from '../errors.js';
export { legacyBytes, reviveBufferJson } from './buffer-json.js';
export { decodeValue } from './decoder.js';
export {
  checkType,
  decodeAnswer,
  encodeGet,
  encodePatch,
  encodeRecords,
  encodeValue,
  namesOf,
  type RecordEntry,
} from './frame.js';
export { renderPath } from './refusal.js';
export { Scratch } from './scratch.js';
export { describe, isPlainObject } from './shape.js';
export { isWellFormed } from './text.js';
export { asUint8Array } from './views.js';
