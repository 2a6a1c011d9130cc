import { decodeValue, encodeValue } from '../codec/index.js';
import { resolveSecurity } from '../options/security.js';
import type { SecurityConfig } from '../options/types.js';
import type { CryptoService } from './crypto.js';

/** How a store encodes values; the settings of compression, which happens in the core. */
export class CodecService {
  private readonly compressor: 'snappy' | 'gzip' | null;

  /** @throws ConfigError naming the field */
  constructor(private readonly config: Partial<SecurityConfig>) {
    const { enableCompression, compressionAlgorithm } = config;
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
    const { enableCompression, compressionAlgorithm } = this.config;
    return {
      ...(enableCompression !== undefined && { enableCompression }),
      ...(compressionAlgorithm !== undefined && { compressionAlgorithm }),
    };
  }
}

/** The encoding of a store made by `createRedisStore` or `createMongoStore`. */
export function createCodecService(config: Partial<SecurityConfig>): CodecService {
  return new CodecService(config);
}

/** The options that a store's crypto and codec service stand for; the codec has the say over compression. */
export function servicesOf(crypto?: CryptoService, codec?: CodecService): Record<string, unknown> {
  if (crypto === undefined && codec === undefined) {
    return {};
  }
  const options = crypto?.toOptions();
  return { ...options, security: { ...options?.security, ...codec?.toOptions() } };
}
