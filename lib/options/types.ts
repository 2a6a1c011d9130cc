import type { MongoDriverOptions } from '../compat/dialects/mongo-clients.js';
import type { IdlePostgresOptions } from '../compat/dialects/postgres-clients.js';
import type { IdleRedisOptions } from '../compat/dialects/redis-clients.js';
import type { StorageError } from '../errors.js';

type Behind<Server extends string, Options> = {
  [Name in keyof Options as `${Server}${Capitalize<string & Name>}`]: Options[Name];
};

/** How long things live. One TTL covers a whole session, because creds without keys (or keys without creds) break it. */
export interface TtlConfig {
  /**
   * Seconds that a session lives after its last write or `touch`. Default: sessions never expire. In Redis-only mode
   * the expired session is gone for good.
   */
  defaultTtl: number;
  /** Must equal `keysTtl`; both override `defaultTtl`. Seconds. */
  credsTtl: number;
  /** Must equal `credsTtl`; both override `defaultTtl`. Seconds. */
  keysTtl: number;
  /**
   * Seconds that a lease lives unless renewed (it is, in the background). Default 5. Shorter: a crashed owner on
   * another host is succeeded sooner; longer: short stalls of the process or network do not cost the lease.
   */
  lockTtl: number;
}

/** Limits on trouble. */
export interface ResilienceConfig {
  /** Milliseconds that any one storage operation may take, retries included. Default 5000. */
  operationTimeout: number;
  /** Retries after the first attempt, only where repeating is safe. Default 3; 0 switches retrying off. */
  maxRetries: number;
  /** Milliseconds of the first retry's delay, before jitter. Default 100. */
  retryBaseDelay: number;
  /** Factor from each retry's delay to the next. Default 2. */
  retryMultiplier: number;
  /** Circuit breaker in front of each server. */
  breaker?: Partial<BreakerConfig> | undefined;
}

/** When the circuit breaker in front of a failing server opens. */
export interface BreakerConfig {
  /** Share of failures within `window` that opens the breaker, above 0 and up to 1. Default 0.5. */
  errorThreshold: number;
  /** Milliseconds over which failures are counted. Default 10000. */
  window: number;
  /**
   * Milliseconds that the breaker stays open before it lets a trial through, unless the storage answers a ping before:
   * it is pinged with pauses that grow to a second. Default 30000.
   */
  coolDown: number;
}

/** What can be seen from outside. */
export interface ObservabilityConfig {
  /** Whether `getMetricsText()` gives metrics. Default true; counting costs nanoseconds and is always on. */
  enableMetrics: boolean;
  /** Must be false: spans are not produced. */
  enableTracing: boolean;
  /** Passes debug-level events to the logger. Default false. */
  enableDetailedLogs: boolean;
  /** Accepted for compatibility, in ms: metrics are current at each scrape, so there is no interval to set. */
  metricsInterval: number;
}

/** Sealing and compression. */
export interface SecurityConfig {
  /** Seal records. Default: true when there is a `masterKey`. Costs 0.4 to 3 µs per KB, depending on the algorithm. */
  enableEncryption: boolean;
  /** `'secretbox'` (XSalsa20-Poly1305, default) or `'aes-256-gcm'` (some 8 times faster with AES-NI). New writes only. */
  encryptionAlgorithm: 'secretbox' | 'aes-256-gcm';
  /**
   * Warns, once in each process, when the master key is older than so many days: when it was first seen in this store
   * is written down there. Default 0: never, and nothing is written down.
   */
  keyRotationDays: number;
  /** Compress the records that become smaller by it. Default false: the encoding is compact, so it seldom pays. */
  enableCompression: boolean;
  /** `'snappy'` (default) or `'gzip'` (smaller, many times slower). New writes only. */
  compressionAlgorithm: 'snappy' | 'gzip';
  /** Passes debug-level events to the logger. Default false. They never hold keys or values. */
  enableDebugLogging?: boolean | undefined;
  /** `'production'` requires a `masterKey`, unless `enableEncryption` is false by name. Default: not production. */
  environment?: 'development' | 'production' | 'test' | undefined;
  /** Same as the option `logger`. */
  logger?: LoggerLike | undefined;
  /**
   * Also read records that were stored without sealing, while a store is being moved to a master key. Default false:
   * such a record is an EncryptionError, because anybody who can write to the server could have put it there.
   */
  acceptPlain?: boolean | undefined;
  /**
   * A program, with its arguments, that prints the master key: 64 hex characters, or 32 bytes. In place of `masterKey`.
   * It is run without a shell each time the store connects, and must end within `openTimeout`, or a second if that is
   * longer. Whatever goes wrong is a ConfigError, and the store does not open.
   */
  masterKeyCommand?: readonly string[] | undefined;
  /** Likewise for `previousMasterKeys`: a program that prints them, one a line, in hex characters. */
  previousMasterKeysCommand?: readonly string[] | undefined;
}

/** A pino-like, console-like or structured logger. */
export interface LoggerLike {
  // biome-ignore lint/suspicious/noExplicitAny: the three kinds of logger differ in what they take
  debug(...args: any[]): void;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  info(...args: any[]): void;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  warn(...args: any[]): void;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  error(...args: any[]): void;
}

/** 64 hex characters or 32 bytes; anything else is refused, never hashed into shape. Make one with
 * `crypto.randomBytes(32).toString('hex')` and keep it: without it the sessions are gone. */
export type MasterKey = string | Uint8Array;

/** Options of every hook. In hooks with a section (`redis`, `mongodb`, `hybrid`) they may also stand in there. */
export interface SharedOptions {
  /**
   * Key that seals records: 64 hex characters or 32 bytes. Left out: records are stored readable. Named but undefined or
   * empty, as where its environment variable is not set, it is a ConfigError, unless `enableEncryption` is false. A
   * function is asked each time the store connects, and must answer within `openTimeout`, or a second if that is longer.
   */
  masterKey?: MasterKey | (() => MasterKey | Promise<MasterKey>) | undefined;
  /** Keys that older records were sealed with; reading finds the right one by its id. `rotateKey` re-seals. */
  previousMasterKeys?:
    | readonly MasterKey[]
    | (() => readonly MasterKey[] | Promise<readonly MasterKey[]>)
    | undefined;
  /** Sealing and compression. */
  security?: Partial<SecurityConfig> | undefined;
  /** Same as `security.enableEncryption`. */
  enableEncryption?: boolean | undefined;
  /** Same as `security.enableCompression`. */
  enableCompression?: boolean | undefined;
  /** Time limits, retries and circuit breaker. */
  resilience?: Partial<ResilienceConfig> | undefined;
  /** Metrics and logs. */
  observability?: Partial<ObservabilityConfig> | undefined;
  /**
   * Milliseconds to wait for a live owner of the session to let go of it, and before that for a server that is not
   * up yet or loads its data. Default 10000.
   */
  openTimeout?: number | undefined;
  /**
   * Own the session by a lease. Default true. False lets several processes write one session at a time: every read
   * then goes to the storage, and Baileys' own transactions can race.
   */
  exclusive?: boolean | undefined;
  /** Called when another process has taken the session over: close the socket, writes are refused from now on. */
  onLeaseLost?: ((error: StorageError) => void) | undefined;
  /**
   * Bytes of memory for records of all sessions of the process; where stores differ, the last one opened has the say.
   * Default 64 MiB; with 0 every read goes to the storage.
   */
  cacheBytes?: number | undefined;
  /** Where log events go: pino-like, console-like or structured. Default: warnings and errors to the console. */
  logger?: LoggerLike | undefined;
  /** The Baileys module, where it cannot be found by its name. Default: `baileys`, then `@whiskeysockets/baileys`. */
  baileys?: object | undefined;
}

/** Options that only the embedded store has. */
export interface EmbeddedOptions {
  /**
   * When a write is acknowledged: `'process'` (default) once it survives the process being killed, flushed to disk at
   * least every second; `'full'` once it survives a power cut, at the price of a disk flush per group of commits.
   */
  durability?: 'process' | 'full' | undefined;
}

/** Options of `useMultiFileAuthState`. */
export interface UseMultiFileAuthStateOptions extends SharedOptions, EmbeddedOptions {
  /**
   * What to do with a `creds.json` of Baileys' own that turns up in the folder of a paired session: `'import'` replaces
   * what is stored by the files, `'ignore'` puts the files aside. Default: neither, but a `ForeignFilesError`.
   */
  onForeignFiles?: 'import' | 'ignore' | undefined;
}

/** Options that every store on a server takes. */
export interface ServerOptions extends SharedOptions {
  /** How long sessions and leases live, or the seconds of a session alone. Default: sessions never expire. */
  ttl?: number | Partial<TtlConfig> | undefined;
  /** Connect by TLS (`rediss://`, `tls=true`). Default: what the URL and the option `tls` say. */
  enableTls?: boolean | undefined;
}

/** Certificates are PEM: the text, its bytes, or the path of a file; several in an array or one after the other. */
export type Pem = string | Uint8Array;

/** Whom to trust over TLS, and who the program is there. */
export interface TlsOptions {
  /**
   * Authorities that may sign the server's certificate. Default: those of Mozilla, of the system's store, and of
   * `NODE_EXTRA_CA_CERTS`.
   */
  ca?: Pem | readonly Pem[] | undefined;
  /** The program's own certificate, for servers that ask for one; with `key`. */
  cert?: Pem | readonly Pem[] | undefined;
  key?: Pem | undefined;
  /** Opens `key`. */
  passphrase?: string | undefined;
  /** False takes any certificate, with a warning. Default true. */
  rejectUnauthorized?: boolean | undefined;
  /** Accepted where it is the name that is connected to. */
  servername?: string | undefined;
}

/** Where Redis is, and its store's options. Left out, all of it: `localhost:6379`. */
export interface RedisStoreConfig extends ServerOptions, IdleRedisOptions {
  /** `redis://`, `rediss://` … Default: made of the options below. */
  redisUrl?: string | undefined;
  /** Same as `redisUrl`. */
  url?: string | undefined;
  /** Default `localhost`. */
  host?: string | undefined;
  /** Default 6379. */
  port?: number | string | undefined;
  /** Path of a Unix socket, in place of `host` and `port`. */
  path?: string | undefined;
  /** The ACL user. Empty or undefined means none, as for `password`: a server that wants one says so. */
  username?: string | undefined;
  password?: string | undefined;
  /** Number of the database. Default 0. */
  db?: number | string | undefined;
  /** True connects by TLS as `enableTls` does; an object brings certificates. */
  tls?: boolean | TlsOptions | undefined;
  /** Sentinels to ask for the master, in place of `host` and `port`; with `name`. */
  sentinels?: readonly { host: string; port?: number | string }[] | undefined;
  /** What the sentinels call the master. */
  name?: string | undefined;
  sentinelUsername?: string | undefined;
  sentinelPassword?: string | undefined;
  /** Same as `host`. */
  redisHost?: string | undefined;
  /** Same as `port`. */
  redisPort?: number | string | undefined;
  /** Same as `password`. */
  redisPassword?: string | undefined;
  /** First part of every key. Default `bv`. */
  prefix?: string | undefined;
  /** Same as `prefix`; a colon at its end is taken for ours. */
  keyPrefix?: string | undefined;
  /** Acknowledge a write when so many replicas have it. Default none: when the master has it. */
  waitReplicas?: WaitReplicas | undefined;
}

/** How many replicas of Redis must have a write before it is acknowledged. */
export interface WaitReplicas {
  /** At least 1. */
  count: number;
  /**
   * How long they are waited for, in ms, at most two fifths of `resilience.operationTimeout`; then the write fails with
   * `STORAGE_UNAVAILABLE`, and may have been made. Default 1000.
   */
  timeout?: number | undefined;
}

/** Where MongoDB is, and its store's options. */
export interface MongoAuthStoreConfig extends ServerOptions, MongoDriverOptions {
  /** `mongodb://` or `mongodb+srv://` */
  mongoUrl: string;
  /** Default: the one in `mongoUrl`, else `baileys_vault`. */
  databaseName?: string | undefined;
  /** Default `vault`; the names of collections begin with it. */
  collectionName?: string | undefined;
  /** Same as `databaseName`. */
  database?: string | undefined;
  /** Same as `collectionName`. */
  collection?: string | undefined;
  /** Same as `databaseName`. */
  mongoDatabase?: string | undefined;
  /** Same as `collectionName`. */
  mongoCollection?: string | undefined;
  /** Same as `databaseName`. */
  dbName?: string | undefined;
  /** Who the program is to MongoDB, where the URL does not say. */
  user?: string | undefined;
  pass?: string | undefined;
  /** True connects by TLS as `enableTls` does; an object brings certificates. */
  tls?: boolean | TlsOptions | undefined;
  /**
   * Open a session although its last owner was a hybrid store with an outbox in Redis, which this store cannot see:
   * writes which that owner acknowledged may be missing then. Default false: that is a `StorageError` with code
   * `SESSION_BUSY`.
   */
  acceptLostOutbox?: boolean | undefined;
}

/** Where PostgreSQL is, and its store's options. Left out, all of it: `localhost:5432`. */
export interface PostgresStoreConfig extends ServerOptions, IdlePostgresOptions {
  /** `postgres://` or `postgresql://`, with the parameters of libpq. Default: made of the options below. */
  postgresUrl?: string | undefined;
  /** Same as `postgresUrl`. */
  url?: string | undefined;
  /** Same as `postgresUrl`. */
  connectionString?: string | undefined;
  /** Default `localhost`; the folder of a Unix socket if it begins with a slash. */
  host?: string | undefined;
  /** Default 5432. */
  port?: number | string | undefined;
  /** Default: the user of the operating system. */
  user?: string | undefined;
  password?: string | undefined;
  /** Default: the user's name. */
  database?: string | undefined;
  /** Schema that has the tables; made if it is missing and the user may. Default `baileys_vault`. */
  schema?: string | undefined;
  /** Most connections, however many sessions the process has. Default 2; thousands of sessions share one. */
  maxConnections?: number | string | undefined;
  /** True connects by TLS and has the server prove its name; an object brings certificates. Default: what `sslmode` says. */
  tls?: boolean | TlsOptions | undefined;
  /** Same as `tls`. */
  ssl?: boolean | TlsOptions | undefined;
  /** Shown in `pg_stat_activity`. Default `baileys-vault`. */
  applicationName?: string | undefined;
  /**
   * Open a session although its last owner was a hybrid store with an outbox in Redis, which this store cannot see:
   * writes which that owner acknowledged may be missing then. Default false: that is a `StorageError` with code
   * `SESSION_BUSY`.
   */
  acceptLostOutbox?: boolean | undefined;
}

/** Where Redis and the primary (MongoDB or PostgreSQL) are, and the hybrid store's options. */
export interface HybridStoreConfig
  extends ServerOptions,
    Behind<'redis', IdleRedisOptions>,
    Behind<'mongo', MongoDriverOptions>,
    Behind<'postgres', IdlePostgresOptions> {
  /** `redis://`, `rediss://` … Default: made of the options below; all left out, `localhost:6379`. */
  redisUrl?: string | undefined;
  /** Default `localhost`. */
  redisHost?: string | undefined;
  /** Default 6379. */
  redisPort?: number | string | undefined;
  redisUsername?: string | undefined;
  redisPassword?: string | undefined;
  /** Number of the database. Default 0. */
  redisDb?: number | string | undefined;
  /** As `tls` of the Redis store. */
  redisTls?: boolean | TlsOptions | undefined;
  /** First part of every key in Redis. Default `bv`. */
  redisPrefix?: string | undefined;
  /**
   * Acknowledge a write that goes to the outbox when so many replicas of Redis have it; what they do not confirm in time
   * is acknowledged when MongoDB has it. Default none: when Redis' master has it.
   */
  redisWaitReplicas?: WaitReplicas | undefined;
  /** `mongodb://` or `mongodb+srv://`, where MongoDB is the primary. */
  mongoUrl?: string | undefined;
  /** Who the program is to MongoDB, where the URL does not say. */
  mongoUser?: string | undefined;
  mongoPass?: string | undefined;
  /** As `tls` of the MongoDB store. */
  mongoTls?: boolean | TlsOptions | undefined;
  /** Default: the one in `mongoUrl`, else `baileys_vault`. */
  mongoDatabase?: string | undefined;
  /** Default `vault`; the names of collections begin with it. */
  mongoCollection?: string | undefined;
  /** `postgres://` or `postgresql://`, where PostgreSQL is the primary. */
  postgresUrl?: string | undefined;
  /** As `host` and what follows there of the PostgreSQL store. */
  postgresHost?: string | undefined;
  postgresPort?: number | string | undefined;
  postgresUser?: string | undefined;
  postgresPassword?: string | undefined;
  postgresDatabase?: string | undefined;
  postgresSchema?: string | undefined;
  postgresMaxConnections?: number | string | undefined;
  postgresTls?: boolean | TlsOptions | undefined;
  /** Acknowledge once Redis has the data and its outbox entry; the primary follows at once. Default false. */
  enableWriteBehind?: boolean | undefined;
  /**
   * Write-through goes on through the outbox while MongoDB is away; Redis must then be persistent, and is needed to
   * open a session whose owner crashed. Default false: writes fail with a typed error.
   */
  outboxWhenMongoDown?: boolean | undefined;
  /** The same where PostgreSQL is the primary. */
  outboxWhenPostgresDown?: boolean | undefined;
  /**
   * Open a session although Redis has lost the outbox of an owner that crashed: writes which that owner acknowledged
   * may be missing then. Default false: that is a `StorageError` with code `SESSION_LOST`.
   */
  acceptLostOutbox?: boolean | undefined;
  /**
   * Bytes acknowledged and not yet in MongoDB, of all sessions of the process; where stores differ, the one opened first
   * has the say. Beyond it a write goes to MongoDB alone, or fails with `STORAGE_FULL` while that is away. Default
   * 268435456 (256 MiB).
   */
  outboxLimit?: number | undefined;
  /**
   * Is told of each outbox entry in write-behind mode: a notification, at most once for each, that nothing waits for.
   * The store itself brings the entry to MongoDB, whatever the queue does with it.
   */
  // biome-ignore lint/suspicious/noExplicitAny: adapters are written for their own job type
  queue?: QueueAdapter<any> | undefined;
  /** Longest delay of write-behind in ms. Accepted and always kept: entries are applied at once. */
  writeBehindFlushInterval?: number | undefined;
  /** Accepted, and has no effect: an entry is never dropped. See `outboxLimit`. */
  writeBehindQueueSize?: number | undefined;
}

/** Options of one job, for queues that know them. */
export interface JobOptions {
  attempts?: number;
  backoff?: { type: 'exponential' | 'fixed'; delay: number };
  removeOnComplete?: boolean;
  priority?: number;
  delay?: number;
}

/** A queue (BullMQ, Kafka …) that is told of outbox entries. */
export interface QueueAdapter<TData = unknown> {
  /** Resolves when the queue has the job; that it failed is counted (`queueFailures`) and costs nothing else. */
  add(jobName: string, data: TData, options?: JobOptions): Promise<void>;
  /** Called once, when the store closes. */
  close(): Promise<void>;
}

/** The job of an outbox entry. The patch is sealed: what leaves the session layer is never readable. */
export interface PersistJob {
  sessionId: string;
  /** Version that the session has with this patch. */
  version: number;
  fencingToken?: number;
  /** Milliseconds since 1970. */
  timestamp: number;
  /** The sealed patch, base64. */
  sealed: string;
}

interface SessionOptions {
  /** Name of the session; any non-empty string. For several tenants: `tenant:device`. */
  sessionId: string;
  /** Refuse to open unless this is newer than the session's fencing token. Default: the storage gives the next one. */
  fencingToken?: number | undefined;
}

/** Options of `useRedisAuthState`. */
export interface UseRedisAuthStateOptions extends ServerOptions, SessionOptions {
  redis: RedisStoreConfig;
}

/** Options of `useMongoAuthState`. */
export interface UseMongoAuthStateOptions extends ServerOptions, SessionOptions {
  mongodb: MongoAuthStoreConfig;
}

/** Options of `usePostgresAuthState`. */
export interface UsePostgresAuthStateOptions extends ServerOptions, SessionOptions {
  postgres: PostgresStoreConfig;
}

/** Options of `useHybridAuthState`. */
export interface UseHybridAuthStateOptions extends ServerOptions, SessionOptions, EmbeddedOptions {
  /** Redis, and MongoDB or PostgreSQL. Default: none, and all sessions are kept in one embedded store. */
  hybrid?: HybridStoreConfig | undefined;
  /** Folder of the embedded store, when there is no `hybrid`. Default `./baileys_auth`. */
  embedded?: { path?: string | undefined } | undefined;
}
