/** BSON as values of JavaScript, without loss. */
import { CorruptRecordError } from '../../errors.js';

/** What a document holds. */
export type BsonValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | undefined
  | Date
  | Buffer
  | ObjectId
  | BsonValue[]
  | BsonDocument;

export interface BsonDocument {
  [field: string]: BsonValue;
}

/** MongoDB's own kind of id. */
export class ObjectId {
  constructor(
    /** 24 hex digits. */
    readonly hex: string,
  ) {}

  toString(): string {
    return this.hex;
  }
}

/**
 * Reads one document. Binary data of any kind is a Buffer; a Long is a number where that holds it exactly, else a bigint.
 *
 * @throws CorruptRecordError for a kind of value that no library stores keys in, and for bytes that are not BSON
 */
export function readBson(bytes: Buffer): BsonDocument {
  try {
    return new BsonReader(bytes).document();
  } catch (cause) {
    if (cause instanceof CorruptRecordError) {
      throw cause;
    }
    throw new CorruptRecordError('the document is not BSON', undefined, cause, { layer: 'mongo' });
  }
}

/** Binary data in the old form, which holds its length once more. */
const OLD_BINARY = 2;

class BsonReader {
  private at = 0;

  constructor(private readonly bytes: Buffer) {}

  document(): BsonDocument {
    const document: BsonDocument = {};
    this.elements((name, value) => {
      // An assignment to `__proto__` would change the prototype instead.
      Object.defineProperty(document, name, { value, enumerable: true, configurable: true, writable: true });
    });
    return document;
  }

  private array(): BsonValue[] {
    const items: BsonValue[] = [];
    this.elements((_index, value) => {
      items.push(value);
    });
    return items;
  }

  private elements(take: (name: string, value: BsonValue) => void): void {
    const end = this.at + this.bytes.readInt32LE(this.at);
    this.at += 4;
    for (let type = this.byte(); type !== 0; type = this.byte()) {
      const name = this.name();
      take(name, this.value(type, name));
    }
    if (this.at !== end) {
      throw new RangeError('a document does not end where it says');
    }
  }

  private value(type: number, name: string): BsonValue {
    switch (type) {
      case 0x01:
        return this.bytes.readDoubleLE(this.skip(8));
      case 0x02:
      case 0x0d:
      case 0x0e:
        return this.text();
      case 0x03:
        return this.document();
      case 0x04:
        return this.array();
      case 0x05:
        return this.binary();
      case 0x06:
        return undefined;
      case 0x07:
        return new ObjectId(this.take(12).toString('hex'));
      case 0x08:
        return this.byte() === 1;
      case 0x09:
        return new Date(Number(this.bytes.readBigInt64LE(this.skip(8))));
      case 0x0a:
        return null;
      case 0x10:
        return this.bytes.readInt32LE(this.skip(4));
      case 0x12: {
        const long = this.bytes.readBigInt64LE(this.skip(8));
        const number = Number(long);
        return Number.isSafeInteger(number) ? number : long;
      }
      default:
        throw new CorruptRecordError(
          `the field ${JSON.stringify(name)} is of a kind that holds no keys (BSON type ${type})`,
          undefined,
          undefined,
          { layer: 'mongo' },
        );
    }
  }

  private binary(): Buffer {
    const length = this.bytes.readInt32LE(this.skip(4));
    const kind = this.byte();
    const content = this.take(length);
    return kind === OLD_BINARY ? content.subarray(4) : content;
  }

  private text(): string {
    const length = this.bytes.readInt32LE(this.skip(4));
    return this.take(length).toString('utf8', 0, length - 1);
  }

  private name(): string {
    const end = this.bytes.indexOf(0, this.at);
    if (end < 0) {
      throw new RangeError('a name does not end');
    }
    const name = this.bytes.toString('utf8', this.at, end);
    this.at = end + 1;
    return name;
  }

  private byte(): number {
    return this.bytes.readUInt8(this.skip(1));
  }

  private take(length: number): Buffer {
    const start = this.skip(length);
    return this.bytes.subarray(start, start + length);
  }

  private skip(length: number): number {
    const start = this.at;
    if (length < 0 || start + length > this.bytes.length) {
      throw new RangeError('a value does not end');
    }
    this.at += length;
    return start;
  }
}
