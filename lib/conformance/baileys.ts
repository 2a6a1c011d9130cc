import { findBaileys, loadBaileys, search } from '../baileys/load.js';
import type { AuthenticationCreds } from '../baileys/types.js';

/** What `keys.set` takes: type to id to value. */
export type Patch = Record<string, Record<string, unknown> | null | undefined>;

/** A key store as the cases use it: of any type, also of those that no list knows. */
export interface KeyStore {
  get(type: string, ids: string[]): Promise<Record<string, unknown>>;
  set(data: Patch): Promise<unknown>;
  clear?(): Promise<unknown>;
  list?(type: string): AsyncIterable<readonly [string, unknown]>;
  listIds?(type: string): AsyncIterable<string>;
}

export interface TransactionalKeyStore extends KeyStore {
  transaction<T>(work: () => Promise<T>, key: string): Promise<T>;
}

export interface KeyPair {
  public: Uint8Array;
  private: Uint8Array;
}

export interface Ciphertext {
  type: 'pkmsg' | 'msg';
  ciphertext: Uint8Array;
}

/** Baileys' Signal repository, as far as the cases use it. */
export interface SignalRepository {
  injectE2ESession(target: { jid: string; session: object }): Promise<void>;
  encryptMessage(message: { jid: string; data: Uint8Array }): Promise<Ciphertext>;
  decryptMessage(message: { jid: string } & Ciphertext): Promise<Uint8Array>;
  encryptGroupMessage(message: { group: string; meId: string; data: Uint8Array }): Promise<{
    ciphertext: Uint8Array;
    senderKeyDistributionMessage: Uint8Array;
  }>;
  processSenderKeyDistributionMessage(message: { item: object; authorJid: string }): Promise<void>;
  decryptGroupMessage(message: { group: string; authorJid: string; msg: Uint8Array }): Promise<Uint8Array>;
  lidMapping?: { storeLIDPNMappings(pairs: { lid: string; pn: string }[]): Promise<void> };
}

export interface ProtoType {
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
  /** 7.0.0-rc.1 to rc.5 have `create` alone. */
  fromObject?(value: object): unknown;
  create(value: object): unknown;
}

/** A message with the fields of `value`, whose bytes are bytes. */
export const makeMessage = (type: ProtoType, value: object): unknown =>
  type.fromObject?.(value) ?? type.create(value);

/** Finds the key that seals app state; Baileys asks for it by its id in base64. */
export type FindAppStateKey = (id: string) => Promise<unknown>;

/** What the cases use of Baileys. They are written against its types elsewhere; here either of its names may be it. */
export interface Baileys {
  initAuthCreds(): AuthenticationCreds;
  BufferJSON: {
    replacer: (key: string, value: unknown) => unknown;
    reviver: (key: string, value: unknown) => unknown;
  };
  Curve: { generateKeyPair(): KeyPair };
  DEFAULT_CONNECTION_CONFIG: {
    makeSignalRepository(
      auth: { creds: AuthenticationCreds; keys: TransactionalKeyStore },
      logger: object,
      pnToLid?: unknown,
    ): SignalRepository;
  };
  addTransactionCapability(
    keys: KeyStore,
    logger: object,
    options: { maxCommitRetries: number; delayBetweenTriesMs: number },
  ): TransactionalKeyStore;
  createSignalIdentity(jid: string, accountKey: Uint8Array): object;
  encodeSyncdPatch(
    patch: object,
    keyId: string,
    state: object,
    find: FindAppStateKey,
  ): Promise<{ patch: SyncdPatch; state: object }>;
  decodeSyncdPatch(
    patch: SyncdPatch,
    name: string,
    state: object,
    find: FindAppStateKey,
    onMutation: (mutation: { index: string[] }) => void,
    validate: boolean,
  ): Promise<unknown>;
  generateOrGetPreKeys(
    creds: AuthenticationCreds,
    range: number,
  ): { newPreKeys: Record<string, KeyPair>; lastPreKeyId: number };
  generateSignalPubKey(key: Uint8Array): Uint8Array;
  newLTHashState(): object;
  proto: {
    ADVSignedDeviceIdentity: ProtoType;
    Message: { AppStateSyncKeyData: ProtoType };
  };
}

export interface SyncdPatch {
  version?: { version: number };
  [field: string]: unknown;
}

/** The installed Baileys, or `given`. */
export async function importBaileys(given?: object): Promise<Baileys> {
  if (given !== undefined) {
    await loadBaileys(given);
    return given as Baileys;
  }
  const module = await findBaileys(search());
  const inner = (module as { default?: Partial<Baileys> }).default;
  return typeof inner?.initAuthCreds === 'function'
    ? { ...inner, ...(module as Baileys) }
    : (module as Baileys);
}

const silent = () => {};

/** A logger that says nothing. */
export const quietLogger: object = {
  level: 'silent',
  child: () => quietLogger,
  trace: silent,
  debug: silent,
  info: silent,
  warn: silent,
  error: silent,
};
