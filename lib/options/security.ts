import { UNSUPPORTED_COMPRESSION } from '../compat/dialects/store-core.js';
import { ConfigError } from '../errors.js';
import { fields, flag, integer, isEmpty, join, oneOf, optional, pick } from './check.js';
import {
  KEY_SHAPE,
  type KeySource,
  missingKey,
  parseCommand,
  parseMasterKey,
  parseMasterKeys,
} from './master-keys.js';

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
  'masterKeyCommand',
  'previousMasterKeysCommand',
] as const;

/** The objects that an option may be given in, each with its path. */
export type OptionSources = readonly { path: string; options: Record<string, unknown> }[];

export interface SecuritySettings {
  masterKey: Buffer | null;
  /** Where the master key comes from when the store connects, in place of `masterKey`. */
  masterKeySource: KeySource | null;
  previousMasterKeys: Buffer[];
  /** Likewise. */
  previousMasterKeysSource: KeySource | null;
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
  const previous = pick('previousMasterKeys', sources);
  if (key.named && isEmpty(key.value) && enabled !== false) {
    throw missingKey(key.field);
  }
  const given = isEmpty(key.value) ? undefined : key.value;
  const masterKeySource = sourceOf(key.field, given, at('masterKeyCommand'), security, enabled !== false);
  const previousMasterKeysSource = sourceOf(
    previous.field,
    previous.value,
    at('previousMasterKeysCommand'),
    security,
    enabled !== false,
  );
  const masterKey = given === undefined || masterKeySource !== null ? null : parseMasterKey(key.field, given);
  const previousMasterKeys =
    previousMasterKeysSource !== null
      ? []
      : optional(previous.value, [], (value) => parseMasterKeys(previous.field, value));
  const hasKey = masterKey !== null || masterKeySource !== null;
  if (!hasKey && (previousMasterKeys.length > 0 || previousMasterKeysSource !== null)) {
    const field = previousMasterKeysSource?.field ?? previous.field;
    throw new ConfigError(key.field, `is required with ${field}: new records are sealed with it`);
  }

  const environment = optional(security.environment, undefined, (value) =>
    oneOf(at('environment'), value, ['development', 'production', 'test']),
  );
  if (!hasKey && enabled === true) {
    throw missingKey(key.field, encryption.field);
  }
  if (!hasKey && enabled === undefined && environment === undefined && 'environment' in security) {
    throw new ConfigError(
      at('environment'),
      "is named but empty, as where its environment variable is not set: expected 'development', 'production' or " +
        "'test', a masterKey, or enableEncryption: false to store sessions readable",
    );
  }
  if (!hasKey && enabled === undefined && environment === 'production') {
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
    masterKeySource,
    previousMasterKeys,
    previousMasterKeysSource,
    encryption: hasKey && enabled !== false ? algorithm : null,
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

/** Where keys come from that are not given themselves; null if they are, or there are none. */
function sourceOf(
  field: string,
  given: unknown,
  commandField: string,
  security: Record<string, unknown>,
  isNeeded: boolean,
): KeySource | null {
  const name = commandField.slice(commandField.lastIndexOf('.') + 1);
  const command = security[name];
  if (isEmpty(command)) {
    if (name in security && isNeeded) {
      throw new ConfigError(
        commandField,
        'is named but empty, as where its environment variable is not set: expected an array of a program and its ' +
          'arguments; to have none, leave it out',
      );
    }
    return typeof given === 'function' ? { field, ask: given as () => unknown } : null;
  }
  if (given !== undefined) {
    throw new ConfigError(commandField, `cannot be given beside ${field}`);
  }
  return { field: commandField, command: parseCommand(commandField, command) };
}
