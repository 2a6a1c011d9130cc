import { types } from 'node:util';
import { Refusal } from './refusal.js';

/** Below this, a loop beats the call that copies. */
export const LOOP_COPY = 40;

/** The global `Buffer` is a getter, which costs more than all else here. */
const BUFFER: unknown = Buffer.prototype;
const UINT8_ARRAY: unknown = Uint8Array.prototype;

/** A getter of the engine itself: a property of the same name on a view, or on its class, may say anything. */
function getterOf<T>(prototype: object, name: string): (view: ArrayBufferView) => T {
  const { get } = Object.getOwnPropertyDescriptor(prototype, name) as { get(): T };
  return Function.prototype.call.bind(get) as (view: ArrayBufferView) => T;
}

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
const getters = (prototype: object) => ({
  buffer: getterOf<ArrayBuffer>(prototype, 'buffer'),
  byteOffset: getterOf<number>(prototype, 'byteOffset'),
  byteLength: getterOf<number>(prototype, 'byteLength'),
});
const ofTypedArray = getters(typedArray);
const ofDataView = getters(DataView.prototype);
const elementAt = Function.prototype.call.bind(
  (typedArray as { at: (this: ArrayBufferView, index: number) => unknown }).at,
) as (view: ArrayBufferView, index: number) => unknown;

/** Whatever kind of view it is, a Uint8Array over the same bytes. */
export function asUint8Array(view: ArrayBufferView): Uint8Array {
  const prototype: unknown = Object.getPrototypeOf(view);
  if (prototype === BUFFER || prototype === UINT8_ARRAY) {
    return view as Uint8Array;
  }
  const { buffer, byteOffset, byteLength } = types.isDataView(view) ? ofDataView : ofTypedArray;
  try {
    requireBuffer(view);
    return new Uint8Array(buffer(view), byteOffset(view), byteLength(view));
  } catch {
    throw gone();
  }
}

/** The bytes of an ArrayBuffer or SharedArrayBuffer. */
export function bytesIn(buffer: ArrayBufferLike): Uint8Array {
  try {
    return new Uint8Array(buffer);
  } catch {
    throw gone();
  }
}

/**
 * The length of `bytes`, to be read once: its buffer may be resized, and a property of that name may say anything.
 *
 * @throws Refusal when its buffer was transferred or shrank below it
 */
export function byteLengthOf(bytes: Uint8Array): number {
  const { length } = bytes;
  if (length === 0) {
    requireBuffer(bytes);
  } else if (length >>> 0 !== length) {
    throw new Refusal('its length is not a whole number');
  }
  return length;
}

function requireBuffer(view: ArrayBufferView): void {
  try {
    // Of a typed array without bytes nothing but its methods tells whether it ever had some.
    if (types.isDataView(view)) {
      ofDataView.byteLength(view);
    } else {
      elementAt(view, 0);
    }
  } catch {
    throw gone();
  }
}

/**
 * Copies the first `length` bytes of `source` to `at`; `length` is what `source` had when it was measured.
 *
 * @throws Refusal when it has fewer now, because a getter or another thread resized or transferred its buffer
 */
export function copyBytes(source: Uint8Array, length: number, target: Uint8Array, at: number): void {
  if (length <= LOOP_COPY) {
    for (let index = 0; index < length; index++) {
      const byte = source[index];
      if (byte === undefined) {
        throw resized();
      }
      target[at + index] = byte;
    }
    return;
  }
  // The property `length` may be one's own; `set` goes by this one.
  const present = ofTypedArray.byteLength(source);
  if (present === length) {
    target.set(source, at);
  } else if (present > length) {
    target.set(new Uint8Array(ofTypedArray.buffer(source), ofTypedArray.byteOffset(source), length), at);
  } else {
    throw resized();
  }
}

const resized = (): Refusal => new Refusal('its bytes were resized or transferred while it was being stored');

const gone = (): Refusal => new Refusal('its bytes are gone: their buffer was transferred or made smaller');
