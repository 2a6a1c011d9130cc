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
export type Completion =
  | { ok: true; kind: typeof Kind.none }
  | { ok: true; kind: typeof Kind.committed; committed: Committed }
  | { ok: true; kind: typeof Kind.answer; payload: Buffer }
  | { ok: true; kind: typeof Kind.json; payload: Buffer }
  | { ok: true; kind: typeof Kind.snapshot; payload: Buffer }
  | { ok: false; error: NativeError };

/** Something the core says without having been asked. */
export interface NativeEvent {
  event: string;
  [field: string]: unknown;
}

/** Receives what is read from a batch. */
export interface Receiver {
  completed(request: number, completion: Completion): void;
  happened(event: NativeEvent): void;
}

/** A batch and how far it has been read. It must not be reused afterwards: payloads point into it. */
export interface Batch {
  readonly bytes: Buffer;
  at: number;
}

/** Whether all of a batch has been read. */
export const isRead = ({ bytes, at }: Batch): boolean => at + HEADER > bytes.length;

/** Reads at most `most` completions and events. If the receiver throws, the next call goes on behind the culprit. */
export function readBatch(batch: Batch, most: number, receiver: Receiver): void {
  const { bytes } = batch;
  for (let count = 0; count < most && !isRead(batch); count++) {
    const header = batch.at;
    const request = bytes.readUInt32LE(header);
    const status = bytes[header + 4];
    const kind = bytes[header + 5] as number;
    const start = header + HEADER;
    const end = start + bytes.readUInt32LE(header + 6);
    batch.at = end;
    if (status === STATUS_OK) {
      receiver.completed(request, succeeded(kind, bytes, start, end));
    } else if (status === STATUS_ERROR) {
      receiver.completed(request, { ok: false, error: readJson(bytes.subarray(start, end)) as NativeError });
    } else {
      receiver.happened(readJson(bytes.subarray(start, end)) as NativeEvent);
    }
  }
}

function succeeded(kind: number, bytes: Buffer, start: number, end: number): Completion {
  switch (kind) {
    case Kind.none:
      return { ok: true, kind };
    case Kind.committed:
      // No view of the batch: making one costs more than all the rest, and writes are what comes most.
      return {
        ok: true,
        kind,
        committed: { version: bytes.readDoubleLE(start), updatedAt: bytes.readDoubleLE(start + 8) },
      };
    default:
      return { ok: true, kind: kind as typeof Kind.answer, payload: bytes.subarray(start, end) };
  }
}

/** Payload of kind `json`. */
export const readJson = (payload: Buffer): unknown => JSON.parse(payload.toString());
