import { decodeValue, encodeValue } from '../codec/index.js';
import { refuse } from '../options/check.js';
import { resolveSecurity } from '../options/security.js';
import type { SecurityConfig } from '../options/types.js';
import { CryptoService, optionsOf } from './crypto.js';

/** How a store encodes values; the settings of compression, which happens in the core. */
export class CodecService {
  private readonly compressor: 'snappy' | 'gzip' | null;
  private readonly options: Partial<SecurityConfig>;

  /** @throws ConfigError naming the field */
  constructor(config: Partial<SecurityConfig>) {
    const { enableCompression, compressionAlgorithm } = config;
    this.options = {
      ...(enableCompression !== undefined && { enableCompression }),
      ...(compressionAlgorithm !== undefined && { compressionAlgorithm }),
    };
    this.compressor = resolveSecurity([
      { path: 'config', options: { security: { enableCompression, compressionAlgorithm } } },
    ]).compression;
  }

  /** @throws ValueError when the value cannot be stored */
  async encode(value: unknown): Promise<Buffer> {
    return encodeValue(value);
  }

  /** @throws CorruptRecordError when the bytes are not an encoded value */
  async decode<T = unknown>(bytes: Buffer): Promise<T> {
    return decodeValue(bytes, 0, bytes.length) as T;
  }

  getStats(): { compressor: string; enabled: boolean } {
    return { compressor: this.compressor ?? 'none', enabled: this.compressor !== null };
  }

  /** @internal The store's options that stand for this service. */
  toOptions(): Partial<SecurityConfig> {
    return this.options;
  }
}

/** The encoding of a store made by `createRedisStore` or `createMongoStore`. */
export function createCodecService(config: Partial<SecurityConfig>): CodecService {
  return new CodecService(config);
}

/**
 * The options that a store's crypto and codec service stand for; the codec decides about compression.
 *
 * @throws ConfigError when one of them is somebody's own: sealing and encoding happen in the core
 */
export function servicesOf(crypto?: unknown, codec?: unknown): Record<string, unknown> {
  if (crypto === undefined && codec === undefined) {
    return {};
  }
  if (crypto !== undefined && !(crypto instanceof CryptoService)) {
    throw refuse(
      'crypto',
      'what createCryptoService made: sealing happens in the core, with masterKey',
      crypto,
    );
  }
  if (codec !== undefined && !(codec instanceof CodecService)) {
    throw refuse('codec', 'what createCodecService made: values are encoded by the store itself', codec);
  }
  const options = crypto === undefined ? undefined : optionsOf(crypto);
  return { ...options, security: { ...options?.security, ...codec?.toOptions() } };
}
