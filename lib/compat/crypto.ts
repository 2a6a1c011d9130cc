import { ConfigError } from '../errors.js';
import { parseMasterKey, resolveSecurity } from '../options/security.js';
import type { MasterKey, SecurityConfig } from '../options/types.js';

/**
 * The keys and settings that a store seals with. The sealing itself happens in the core, so there is nothing here
 * that encrypts.
 */
export class CryptoService {
  private active: Buffer | undefined;
  private previous: Buffer[] = [];

  /** @throws ConfigError naming the field; a missing key is refused by `createCryptoService` and by the store */
  constructor(private readonly config: Partial<SecurityConfig>) {
    resolveSecurity([
      {
        path: 'config',
        options: { security: { ...config, enableEncryption: false, environment: undefined } },
      },
    ]);
  }

  /** @throws ConfigError unless it is 64 hex characters or 32 bytes */
  async initialize(masterKey: MasterKey): Promise<void> {
    this.active = parseMasterKey('masterKey', masterKey);
  }

  /** Makes `newMasterKey` the active one, for stores made from now on; the one before stays readable. */
  async rotateKey(newMasterKey: MasterKey): Promise<void> {
    const next = parseMasterKey('newMasterKey', newMasterKey);
    if (this.active !== undefined) {
      this.previous = [this.active, ...this.previous];
    }
    this.active = next;
  }

  /** Whether there is a key to seal with, or none is needed. */
  isHealthy(): boolean {
    return this.active !== undefined || this.config.enableEncryption === false;
  }

  /** @internal The store's options that stand for this service. */
  toOptions(): { masterKey?: Buffer; previousMasterKeys?: Buffer[]; security: Partial<SecurityConfig> } {
    return {
      ...(this.active !== undefined && { masterKey: this.active, previousMasterKeys: this.previous }),
      security: this.config,
    };
  }
}

/**
 * The sealing of a store made by `createRedisStore` or `createMongoStore`.
 *
 * @throws ConfigError when encryption is enabled and there is no key: a random one would lose every session at exit
 */
export async function createCryptoService(
  config: Partial<SecurityConfig>,
  masterKey?: MasterKey,
): Promise<CryptoService> {
  const service = new CryptoService(config);
  if (masterKey !== undefined) {
    await service.initialize(masterKey);
  } else if (config.enableEncryption === true) {
    throw new ConfigError(
      'masterKey',
      'is required by enableEncryption: expected 64 hex characters or 32 bytes',
    );
  }
  return service;
}
