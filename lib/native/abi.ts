/** The native core as this package uses it; the shapes of requests and completions are in `completion.ts`. */
export interface NativeCore {
  openStore(configJson: string, masterKey: Buffer | null, previousMasterKeys: Buffer[]): number;
  openSession(store: number, optionsJson: string): number;
  set(session: number, frame: Buffer, length: number, expectedVersion: number): number;
  get(session: number, frame: Buffer, length: number): number;
  closeSession(session: number): number;
  storeGet(store: number, sessionId: string): number;
  storeSet(
    store: number,
    sessionId: string,
    frame: Buffer,
    length: number,
    expectedVersion: number,
    fencingToken: number,
  ): number;
  storeDelete(store: number, sessionId: string): number;
  storeTouch(store: number, sessionId: string, ttlSeconds: number): number;
  storeExists(store: number, sessionId: string): number;
  storeList(store: number): number;
  storeImport(session: number, frame: Buffer, length: number, expectedVersion: number, note: string): number;
  storeNotes(session: number): number;
  storeListIds(session: number, type: string): number;
  storeClear(session: number): number;
  storeVerify(store: number): number;
  storePing(store: number): number;
  storeStats(store: number): string;
  metricsText(): string;
  rotateKey(store: number, sessionId: string): number;
  reconcileOutbox(store: number): number;
  deadLetters(store: number): number;
  closeStore(store: number): number;
  sessionInfo(session: number): string;
  queueDone(request: number, error: string | null): void;
}

/** The class that the native module exports. */
export type NativeCoreClass = new (onCompletions: (batch: Buffer) => void) => NativeCore;

/** Where the ABI takes "none" for a number. */
export const NONE = -1;
