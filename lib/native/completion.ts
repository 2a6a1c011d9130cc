/**
 * Completions, as the core delivers them in batches (little-endian), repeated until the end:
 *
 *     u32 request | u8 status | u8 kind | u32 payloadLength | payload
 */
import type { NativeError } from '../errors.js';

const HEADER = 10;
const STATUS_OK = 0;
const STATUS_ERROR = 1;

/** What the payload of a successful completion is. */
export const Kind = { none: 0, committed: 1, answer: 2, json: 3, snapshot: 4 } as const;

/** A commit: the session's new version and when it was taken, in ms since 1970. */
export interface Committed {
  version: number;
  updatedAt: number;
}

/** How a request ended; `payload` is a view that nobody else writes to. */
export type Completion = { ok: true; kind: number; payload: Buffer } | { ok: false; error: NativeError };

/** Something the core says without having been asked. */
export interface NativeEvent {
  event: string;
  [field: string]: unknown;
}

/** Walks a batch. The batch must not be reused afterwards: payloads point into it. */
export function readBatch(
  batch: Buffer,
  onCompletion: (request: number, completion: Completion) => void,
  onEvent: (event: NativeEvent) => void,
): void {
  let at = 0;
  while (at + HEADER <= batch.length) {
    const request = batch.readUInt32LE(at);
    const status = batch[at + 4];
    const kind = batch[at + 5] as number;
    const end = at + HEADER + batch.readUInt32LE(at + 6);
    const payload = batch.subarray(at + HEADER, end);
    at = end;
    if (status === STATUS_OK) {
      onCompletion(request, { ok: true, kind, payload });
    } else if (status === STATUS_ERROR) {
      onCompletion(request, { ok: false, error: JSON.parse(payload.toString()) as NativeError });
    } else {
      onEvent(JSON.parse(payload.toString()) as NativeEvent);
    }
  }
}

/** Payload of kind `committed`. */
export const readCommitted = (payload: Buffer): Committed => ({
  version: payload.readDoubleLE(0),
  updatedAt: payload.readDoubleLE(8),
});

/** Payload of kind `json`. */
export const readJson = (payload: Buffer): unknown => JSON.parse(payload.toString());
