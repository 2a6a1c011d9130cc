import { ValueError } from '../errors.js';
import { Encoder, type Target } from './encoder.js';
import { MAX_SIZE } from './format.js';
import { Refusal } from './refusal.js';

const INITIAL_SIZE = 64 * 1024;

/**
 * The Buffer that frames are written into, shared with the core so that only a length has to cross.
 *
 * It grows by replacing `bytes`, so the core must be handed the new Buffer when it changes. It is not re-entrant:
 * while a value is being encoded, a getter or toJSON of it that comes back to the same store is refused with a
 * ValueError. One scratch belongs to one thread.
 */
export class Scratch implements Target {
  private buffer = Buffer.allocUnsafeSlow(INITIAL_SIZE);
  private busy = false;
  /** @internal */
  readonly encoder = new Encoder();

  /** The Buffer in use now. */
  get bytes(): Buffer {
    return this.buffer;
  }

  /**
   * Makes space for `extra` bytes after `at`. What is before `at` is kept.
   *
   * @internal
   * @throws Refusal when that would be more than a frame may hold
   */
  reserve(at: number, extra: number): Buffer {
    const needed = at + extra;
    if (needed > this.buffer.length) {
      // Text is reserved at three bytes per unit, so the reservation may be larger than what is written.
      if (needed > MAX_SIZE * 3) {
        throw new Refusal(`larger than ${MAX_SIZE} bytes`);
      }
      const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, needed));
      this.buffer.copy(larger, 0, 0, at);
      this.buffer = larger;
    }
    return this.buffer;
  }

  /**
   * Takes the scratch for one frame; `release` must follow whatever happens.
   *
   * @internal
   */
  acquire(): void {
    if (this.busy) {
      throw new ValueError('', 'a getter or toJSON of a value being stored must not call the store');
    }
    this.busy = true;
  }

  /** @internal */
  release(): void {
    this.busy = false;
  }
}
