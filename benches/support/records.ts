import { type Baileys, type KeyStore, makeSamples, type Patch } from './packages.js';

/** Sessions that are read and written in turn, few enough to stay in any cache. */
const HOT = 64;
const FILL_STEP = 1_000;
const PRE_KEYS = 800;

/** Records made by Baileys and libsignal, and calls as Baileys makes them. */
export interface Records {
  /** A Signal session. */
  session: unknown;
  /** Its size as the JSON that file-based stores write. */
  sessionJsonBytes: number;
  /** Id of the hot session of turn `n`. */
  hot(n: number): string;
  /** A `set` of one record. */
  one(n: number): Patch;
  /** A `set` of five records of five types. */
  five(n: number): Patch;
  /** The `set` of 800 pre-keys at login. */
  preKeys: Patch;
}

export async function makeRecords(baileys: Baileys): Promise<Records> {
  const samples = await makeSamples(baileys as never);
  const of = (type: string): unknown => {
    const sample = samples.find((candidate) => candidate.type === type);
    if (sample === undefined) {
      throw new Error(`this Baileys made no ${type}`);
    }
    return sample.value;
  };
  const session = of('session');
  const hot = (n: number): string => `1555000${String(n % HOT).padStart(4, '0')}.0`;
  const preKeys = Object.fromEntries(
    Array.from({ length: PRE_KEYS }, (_, n) => [`${n + 1}`, baileys.Curve.generateKeyPair()]),
  );
  return {
    session,
    sessionJsonBytes: JSON.stringify(session, baileys.BufferJSON.replacer).length,
    hot,
    one: (n) => ({ session: { [hot(n)]: session } }),
    five: (n) => ({
      session: { [hot(n)]: session },
      'sender-key': { [`120363025246125486@g.us::${hot(n)}`]: of('sender-key') },
      'sender-key-memory': { '120363025246125486@g.us': of('sender-key-memory') },
      'device-list': { [`1555${n % HOT}`]: of('device-list') },
      'pre-key': { [`${900 + (n % HOT)}`]: preKeys['1'] },
    }),
    preKeys: { 'pre-key': preKeys },
  };
}

/** Brings a new session to `count` keys: the hot sessions, and identity keys for the rest. */
export async function fill(keys: KeyStore, records: Records, count: number): Promise<void> {
  const hot = Math.min(count, HOT);
  const identity = Buffer.alloc(33, 5);
  for (let n = 0; n < hot; n++) {
    await keys.set(records.one(n));
  }
  for (let from = hot; from < count; from += FILL_STEP) {
    const step = Math.min(FILL_STEP, count - from);
    const ids = Array.from({ length: step }, (_, n) => [`filler-${from + n}.0`, identity]);
    await keys.set({ 'identity-key': Object.fromEntries(ids) });
  }
}
