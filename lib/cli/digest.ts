import { createHash } from 'node:crypto';
import { encodeValue, type RecordEntry } from '../codec/index.js';

/** What there is of one type of record. */
export interface TypeDigest {
  records: number;
  /** Of the values as they are encoded, before sealing. */
  bytes: number;
  /** Over ids and values, in the order of the ids; the same wherever they are stored. */
  sha256: string;
}

export type Digests = ReadonlyMap<string, TypeDigest>;

/** Counts, sizes and digests of a session's records by type, in the order of the types. */
export function digestsOf(records: readonly RecordEntry[]): Digests {
  const groups = new Map<string, RecordEntry[]>();
  for (const record of records) {
    const group = groups.get(record.type);
    if (group === undefined) {
      groups.set(record.type, [record]);
    } else {
      group.push(record);
    }
  }
  return new Map([...groups].sort(byName).map(([type, group]) => [type, digestOf(group)]));
}

function digestOf(group: readonly RecordEntry[]): TypeDigest {
  const hash = createHash('sha256');
  let bytes = 0;
  for (const { type, id, value } of [...group].sort((a, b) => compare(a.id, b.id))) {
    const encoded = encodeValue(value, type);
    hash.update(framed(Buffer.from(id))).update(framed(encoded));
    bytes += encoded.length;
  }
  return { records: group.length, bytes, sha256: hash.digest('hex') };
}

/** With its length in front, so that an end cannot move. */
function framed(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** The types that differ, for errors; none if both are equal by value. */
export function differences(one: Digests, other: Digests): string[] {
  const types = new Set([...one.keys(), ...other.keys()]);
  return [...types].filter((type) => one.get(type)?.sha256 !== other.get(type)?.sha256).sort();
}

/** Digests over many sessions; over one, they are its own. */
export class Totals {
  private readonly types = new Map<string, { records: number; bytes: number; parts: [string, string][] }>();

  add(sessionId: string, digests: Digests): void {
    for (const [type, { records, bytes, sha256 }] of digests) {
      const total = this.types.get(type) ?? { records: 0, bytes: 0, parts: [] };
      total.records += records;
      total.bytes += bytes;
      total.parts.push([sessionId, sha256]);
      this.types.set(type, total);
    }
  }

  /** Whatever the order in which sessions were added. */
  digests(): Digests {
    return new Map(
      [...this.types].sort(byName).map(([type, { records, bytes, parts }]) => {
        const [only, ...others] = parts;
        const sha256 = only !== undefined && others.length === 0 ? only[1] : joined(parts);
        return [type, { records, bytes, sha256 }];
      }),
    );
  }
}

function joined(parts: readonly [sessionId: string, sha256: string][]): string {
  const lines = [...parts]
    .sort(byName)
    .map(([sessionId, sha256]) => `${sha256} ${JSON.stringify(sessionId)}\n`);
  return createHash('sha256').update(lines.join('')).digest('hex');
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byName = (a: readonly [string, unknown], b: readonly [string, unknown]): number => compare(a[0], b[0]);
