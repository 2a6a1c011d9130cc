export type { AuthenticationCreds, AuthenticationState, SignalDataTypeMap } from './baileys/types.js';
export {
  DEFAULT_OBSERVABILITY_CONFIG,
  DEFAULT_RESILIENCE_CONFIG,
  DEFAULT_SECURITY_CONFIG,
  DEFAULT_TTL_CONFIG,
} from './compat/defaults.js';
export {
  assertBufferTypes,
  isValidAuthCreds,
  isValidBuffer,
  isValidKeyPair,
  type TypedAuthenticationCreds,
  type TypedKeyPair,
} from './compat/guards.js';
export {
  CompressionError,
  ConfigError,
  CorruptRecordError,
  EncryptionError,
  FencedError,
  ForeignFilesError,
  SessionBusyError,
  StorageError,
  type StorageErrorDetails,
  type StorageLayer,
  TimeoutError,
  ValueError,
  VersionMismatchError,
} from './errors.js';
export type { AuthStateResult, VaultKeyStore } from './hooks/auth-state.js';
export type {
  BreakerConfig,
  LoggerLike,
  MasterKey,
  ObservabilityConfig,
  Pem,
  ResilienceConfig,
  SecurityConfig,
  SharedOptions,
  TlsOptions,
  TtlConfig,
  WaitReplicas,
} from './options/types.js';
export type {
  AuthPatch,
  AuthSnapshot,
  AuthStore,
  BatchResult,
  BatchUpdate,
  RotationOptions,
  RotationResult,
  SessionHolder,
  SessionId,
  SessionSeals,
  VerifyResult,
  Versioned,
  VersionedResult,
} from './store/types.js';
