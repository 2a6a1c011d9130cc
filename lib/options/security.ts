import { UNSUPPORTED_COMPRESSION } from '../compat/dialects/store-core.js';
import { ConfigError } from '../errors.js';
import { fields, flag, integer, isEmpty, join, oneOf, optional, pick, refuse } from './check.js';

const KEY_BYTES = 32;
const KEY_SHAPE = '64 hex characters or a Buffer of 32 bytes';

const SECURITY_FIELDS = [
  'enableEncryption',
  'encryptionAlgorithm',
  'keyRotationDays',
  'enableCompression',
  'compressionAlgorithm',
  'enableDebugLogging',
  'environment',
  'logger',
  'acceptPlain',
] as const;

/** The objects that an option may be given in, each with its path. */
export type OptionSources = readonly { path: string; options: Record<string, unknown> }[];

export interface SecuritySettings {
  masterKey: Buffer | null;
  previousMasterKeys: Buffer[];
  encryption: 'secretbox' | 'aes-256-gcm' | null;
  compression: 'snappy' | 'gzip' | null;
  acceptPlain: boolean;
  keyRotationDays: number;
  debug: boolean;
  logger: unknown;
}

/** @throws ConfigError, also when sealing is asked for, or needed, and there is no key */
export function resolveSecurity(sources: OptionSources): SecuritySettings {
  const section = pick('security', sources);
  const security = fields(section.field, section.value, SECURITY_FIELDS);
  const at = (name: (typeof SECURITY_FIELDS)[number]): string => join(section.field, name);
  const withSection = [...sources, { path: section.field, options: security }];

  const encryption = pick('enableEncryption', withSection);
  const enabled = optional(encryption.value, undefined, (value) => flag(encryption.field, value));
  const key = pick('masterKey', sources);
  if (key.named && isEmpty(key.value) && enabled !== false) {
    throw missingKey(key.field);
  }
  const masterKey = isEmpty(key.value) ? null : parseMasterKey(key.field, key.value);
  const previous = pick('previousMasterKeys', sources);
  const previousMasterKeys = optional(previous.value, [], (value) => parseKeys(previous.field, value));
  if (masterKey === null && previousMasterKeys.length > 0) {
    throw new ConfigError(key.field, `is required with ${previous.field}: new records are sealed with it`);
  }

  const environment = optional(security.environment, undefined, (value) =>
    oneOf(at('environment'), value, ['development', 'production', 'test']),
  );
  if (masterKey === null && enabled === true) {
    throw missingKey(key.field, encryption.field);
  }
  if (masterKey === null && enabled === undefined && environment === undefined && 'environment' in security) {
    throw new ConfigError(
      at('environment'),
      "is named but empty, as where its environment variable is not set: expected 'development', 'production' or " +
        "'test', a masterKey, or enableEncryption: false to store sessions readable",
    );
  }
  if (masterKey === null && enabled === undefined && environment === 'production') {
    throw new ConfigError(
      key.field,
      `is required in production: expected ${KEY_SHAPE}, or ${at('enableEncryption')}: false to store sessions readable`,
    );
  }

  const algorithm = optional(security.encryptionAlgorithm, 'secretbox' as const, (value) =>
    oneOf<'secretbox' | 'aes-256-gcm'>(at('encryptionAlgorithm'), value, ['secretbox', 'aes-256-gcm']),
  );
  const compression = pick('enableCompression', withSection);
  const compress = optional(compression.value, false, (value) => flag(compression.field, value));
  return {
    masterKey,
    previousMasterKeys,
    encryption: masterKey !== null && enabled !== false ? algorithm : null,
    compression: resolveCompression(at('compressionAlgorithm'), security.compressionAlgorithm, compress),
    acceptPlain: optional(security.acceptPlain, false, (value) => flag(at('acceptPlain'), value)),
    keyRotationDays: optional(security.keyRotationDays, 0, (value) =>
      integer(at('keyRotationDays'), value, 0, 36_500, 'days'),
    ),
    debug: optional(security.enableDebugLogging, false, (value) => flag(at('enableDebugLogging'), value)),
    logger: security.logger,
  };
}

function resolveCompression(field: string, value: unknown, enabled: boolean): 'snappy' | 'gzip' | null {
  if (value === UNSUPPORTED_COMPRESSION) {
    throw new ConfigError(field, `${UNSUPPORTED_COMPRESSION} is not supported; expected 'snappy' or 'gzip'`);
  }
  const algorithm = optional(value, 'snappy' as const, (given) =>
    oneOf<'snappy' | 'gzip'>(field, given, ['snappy', 'gzip']),
  );
  return enabled ? algorithm : null;
}

/** A key that is named but empty, or that another option (`requiredBy`) needs. */
export function missingKey(field: string, requiredBy?: string): ConfigError {
  return requiredBy === undefined
    ? new ConfigError(
        field,
        `is named but empty, as where its environment variable is not set: expected ${KEY_SHAPE}; to store sessions ` +
          'readable, leave it out, or give enableEncryption: false',
      )
    : new ConfigError(field, `is required by ${requiredBy}: expected ${KEY_SHAPE}`);
}

/** A copy of the key's 32 bytes, in memory of its own: of the pool, other Buffers' `buffer` would show it. */
export function parseMasterKey(field: string, value: unknown): Buffer {
  const key = Buffer.alloc(KEY_BYTES);
  if (typeof value === 'string' && /^[0-9a-fA-F]{64}$/.test(value)) {
    key.write(value, 'hex');
    return key;
  }
  if (value instanceof Uint8Array && value.length === KEY_BYTES) {
    key.set(value);
    return key;
  }
  if (typeof value === 'string' || value instanceof Uint8Array) {
    const unit = typeof value === 'string' ? 'characters' : 'bytes';
    throw new ConfigError(field, `expected ${KEY_SHAPE}`, { got: `${value.length} ${unit}` });
  }
  throw refuse(field, KEY_SHAPE, value);
}

function parseKeys(field: string, value: unknown): Buffer[] {
  if (!Array.isArray(value)) {
    throw refuse(field, `an array of keys, each ${KEY_SHAPE}`, value);
  }
  return value.map((key, index) => parseMasterKey(`${field}[${index}]`, key));
}
