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
  /** Ids of the hot sessions, each as a `get` asks for it. */
  hot: readonly string[][];
  /** Calls of `set` with one record, one for each hot session. */
  one: readonly Patch[];
  /** The same with five records of five types. */
  five: readonly Patch[];
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
  const ids = Array.from({ length: HOT }, (_, n) => `1555000${String(n).padStart(4, '0')}.0`);
  const preKeys = Object.fromEntries(
    Array.from({ length: PRE_KEYS }, (_, n) => [`${n + 1}`, baileys.Curve.generateKeyPair()]),
  );
  return {
    session,
    sessionJsonBytes: JSON.stringify(session, baileys.BufferJSON.replacer).length,
    hot: ids.map((id) => [id]),
    one: ids.map((id) => ({ session: { [id]: session } })),
    five: ids.map((id, n) => ({
      session: { [id]: session },
      'sender-key': { [`120363025246125486@g.us::${id}`]: of('sender-key') },
      'sender-key-memory': { '120363025246125486@g.us': of('sender-key-memory') },
      'device-list': { [`1555${n}`]: of('device-list') },
      'pre-key': { [`${900 + n}`]: preKeys['1'] },
    })),
    preKeys: { 'pre-key': preKeys },
  };
}

/** Brings a new session to `count` keys: the hot sessions, and identity keys for the rest. */
export async function fill(keys: KeyStore, records: Records, count: number): Promise<void> {
  const hot = Math.min(count, HOT);
  const identity = Buffer.alloc(33, 5);
  for (const patch of records.one.slice(0, hot)) {
    await keys.set(patch);
  }
  for (let from = hot; from < count; from += FILL_STEP) {
    const step = Math.min(FILL_STEP, count - from);
    const ids = Array.from({ length: step }, (_, n) => [`filler-${from + n}.0`, identity]);
    await keys.set({ 'identity-key': Object.fromEntries(ids) });
  }
}

/** As many keys in one patch, all of them session records; for stores whose every `set` costs as much as all they hold. */
export async function fillWithSessions(
  keys: KeyStore,
  { one, session }: Records,
  count: number,
): Promise<void> {
  const sessions = Object.assign({}, ...one.slice(0, count).map((patch) => patch.session));
  for (let n = one.length; n < count; n++) {
    sessions[`filler-${n}.0`] = session;
  }
  await keys.set({ session: sessions });
}
