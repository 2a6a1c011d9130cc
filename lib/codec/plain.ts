/**
 * Plain objects whose hidden classes are the codec's own. The engine keeps at most 1,536 shapes that begin with the
 * same empty object, and Baileys alone uses up those of `{}`: an object of a new key then costs a hidden class each
 * time it is made, which is two thirds of decoding a session and fills the old generation.
 */

type Plain = Record<string, unknown>;
type PlainConstructor = new () => Plain;

/** Objects with keys of their own after which the shapes are given up, well before there are too many. */
const RENEWAL = 1_024;

function newConstructor(): PlainConstructor {
  function Plain() {}
  Plain.prototype = Object.prototype;
  return Plain as unknown as PlainConstructor;
}

const Known = newConstructor();
let Keyed = newConstructor();
let made = 0;

/** An object whose keys are few over all objects. */
export const knownObject = (): Plain => new Known();

/** An object whose keys may be anything: ids, jids, MACs. */
export function keyedObject(): Plain {
  made += 1;
  if (made === RENEWAL) {
    made = 0;
    Keyed = newConstructor();
  }
  return new Keyed();
}
