/**
 * A snapshot, as the core delivers it: `u32 jsonLength | JSON {version, updatedAt} | set frame` with a put for every
 * record of the session.
 */
import { decodeValue } from '../codec/index.js';
import { CorruptRecordError } from '../errors.js';
import type { Committed } from './completion.js';

const ENTRY_HEADER = 8;

/** One record of a snapshot. */
export interface SnapshotRecord {
  type: string;
  id: string;
  value: unknown;
}

/** All of a session at one version. */
export interface Snapshot {
  info: Committed;
  records: SnapshotRecord[];
}

/** @throws CorruptRecordError naming the first record that cannot be decoded */
export function readSnapshot(payload: Buffer): Snapshot {
  const start = 4 + payload.readUInt32LE(0);
  const info = JSON.parse(payload.toString('utf8', 4, start)) as Committed;
  const records: SnapshotRecord[] = [];
  let at = start;
  while (at < payload.length) {
    const idAt = at + ENTRY_HEADER + (payload[at + 1] as number);
    const valueAt = idAt + payload.readUInt16LE(at + 2);
    const end = valueAt + payload.readUInt32LE(at + 4);
    const type = payload.toString('utf8', at + ENTRY_HEADER, idAt);
    const id = payload.toString('utf8', idAt, valueAt);
    records.push({ type, id, value: decode(payload, valueAt, end, type, id) });
    at = end;
  }
  return { info, records };
}

function decode(payload: Buffer, start: number, end: number, type: string, id: string): unknown {
  try {
    return decodeValue(payload, start, end);
  } catch (cause) {
    throw new CorruptRecordError(`record of type ${JSON.stringify(type)} is malformed`, id, cause);
  }
}
