import { isEmpty } from '../options/check.js';
import { missingKey, parseMasterKey } from '../options/master-keys.js';
import { resolveSecurity } from '../options/security.js';
import type { MasterKey, SecurityConfig } from '../options/types.js';

/** The store's options that a service stands for. Not a method: whoever holds the service must not find its keys there. */
export let optionsOf: (service: CryptoService) => {
  masterKey?: Buffer;
  previousMasterKeys?: Buffer[];
  security: Partial<SecurityConfig>;
};

/**
 * The keys and settings that a store seals with. The sealing itself happens in the core, so there is nothing here
 * that encrypts.
 */
export class CryptoService {
  readonly #config: Partial<SecurityConfig>;
  #active: Buffer | undefined;
  #previous: Buffer[] = [];

  static {
    optionsOf = (service) => ({
      ...(service.#active !== undefined && {
        masterKey: service.#active,
        previousMasterKeys: service.#previous,
      }),
      security: service.#config,
    });
  }

  /** @throws ConfigError naming the field; a missing key is refused by `createCryptoService` and by the store */
  constructor(config: Partial<SecurityConfig>) {
    this.#config = { ...config };
    resolveSecurity([
      {
        path: 'config',
        options: { security: { ...config, enableEncryption: false, environment: undefined } },
      },
    ]);
  }

  /** @throws ConfigError unless it is 64 hex characters or 32 bytes */
  async initialize(masterKey: MasterKey): Promise<void> {
    this.#active = parseMasterKey('masterKey', masterKey);
  }

  /** Makes `newMasterKey` the active one, for stores made from now on; the one before stays readable. */
  async rotateKey(newMasterKey: MasterKey): Promise<void> {
    const next = parseMasterKey('newMasterKey', newMasterKey);
    if (this.#active !== undefined) {
      this.#previous = [this.#active, ...this.#previous];
    }
    this.#active = next;
  }

  /** Whether there is a key to seal with, or none is needed. */
  isHealthy(): boolean {
    const { enableEncryption, masterKeyCommand } = this.#config;
    return this.#active !== undefined || enableEncryption === false || !isEmpty(masterKeyCommand);
  }
}

/**
 * The sealing of a store made by `createRedisStore` or `createMongoStore`.
 *
 * @throws ConfigError when encryption is enabled and there is no key (a random one would lose every session at exit),
 *   or when a key is passed that is undefined or empty, unless `enableEncryption` is false
 */
export async function createCryptoService(
  config: Partial<SecurityConfig>,
  ...key: [masterKey?: MasterKey | undefined]
): Promise<CryptoService> {
  const service = new CryptoService(config);
  const [masterKey] = key;
  if (masterKey !== undefined && !isEmpty(masterKey)) {
    await service.initialize(masterKey);
  } else if (
    (config.enableEncryption === true && isEmpty(config.masterKeyCommand)) ||
    (key.length > 0 && config.enableEncryption !== false)
  ) {
    throw missingKey('masterKey', key.length > 0 ? undefined : 'enableEncryption');
  }
  return service;
}
