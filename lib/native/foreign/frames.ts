/** Reads what `src/node/foreign.rs` frames; its header has the layout. */
import { StorageError } from '../../errors.js';

/** The length of bytes that are not there. */
const NOTHING = 0xffffffff;

/** Reads an answer from its beginning to its end. */
export class FrameReader {
  private at = 0;

  constructor(private readonly frame: Buffer) {}

  get isAtEnd(): boolean {
    return this.at >= this.frame.length;
  }

  byte(): number {
    return this.frame[this.advance(1)] as number;
  }

  integer(): bigint {
    return this.frame.readBigInt64LE(this.advance(8));
  }

  real(): number {
    return this.frame.readDoubleLE(this.advance(8));
  }

  /** Bytes that nobody else writes to, or null where nothing is. */
  bytesOrNull(): Buffer | null {
    const length = this.frame.readUInt32LE(this.advance(4));
    return length === NOTHING ? null : this.take(length);
  }

  bytes(): Buffer {
    const found = this.bytesOrNull();
    if (found === null) {
      throw cutShort();
    }
    return found;
  }

  private take(length: number): Buffer {
    const start = this.advance(length);
    return this.frame.subarray(start, start + length);
  }

  private advance(by: number): number {
    const start = this.at;
    this.at += by;
    if (this.at > this.frame.length) {
      throw cutShort();
    }
    return start;
  }
}

const cutShort = (): StorageError =>
  new StorageError('INTERNAL', 'an answer of the core is cut short', false, { layer: 'native' });
