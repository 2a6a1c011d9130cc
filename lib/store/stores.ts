import type { CryptoService } from '../compat/crypto.js';
import { refuseMethod } from '../compat/refused-methods.js';
import { type CodecService, servicesOf } from '../compat/services.js';
import { ConfigError } from '../errors.js';
import {
  resolveHybridStore,
  resolveMongoStore,
  resolvePostgresStore,
  resolveRedisStore,
} from '../options/servers.js';
import type { StoreSettings } from '../options/shared.js';
import type {
  HybridStoreConfig,
  MongoAuthStoreConfig,
  PostgresStoreConfig,
  RedisStoreConfig,
} from '../options/types.js';
import { Prepared, settingsOf, unpack, VaultStore } from './vault-store.js';

/** A store in a folder, without a server. */
export class EmbeddedAuthStore extends VaultStore {
  /** @internal */
  constructor(prepared: Prepared) {
    super(unpack(prepared));
  }
}

/** Sessions in Redis. Call `connect` before use; `createRedisStore` does. */
export class RedisAuthStore extends VaultStore {
  /** @throws ConfigError naming the field */
  constructor(config: RedisStoreConfig | Prepared, crypto?: CryptoService, codec?: CodecService) {
    super(config instanceof Prepared ? unpack(config) : resolveRedisStore(config, servicesOf(crypto, codec)));
  }

  /** Refused: the connection belongs to the core, and whoever writes beside it breaks fencing. */
  getClient(): never {
    return refuseMethod('getClient');
  }
}

/** Sessions in MongoDB. Call `connect` before use; `createMongoStore` does. */
export class MongoAuthStore extends VaultStore {
  /** @throws ConfigError naming the field */
  constructor(config: MongoAuthStoreConfig | Prepared, crypto?: CryptoService, codec?: CodecService) {
    super(config instanceof Prepared ? unpack(config) : resolveMongoStore(config, servicesOf(crypto, codec)));
  }

  /** Refused: see `invalidateCache`. */
  setCache(..._args: unknown[]): never {
    return refuseMethod('setCache');
  }

  /** Refused: a session's only cache is its owner's memory, which is right by itself. */
  invalidateCache(..._args: unknown[]): never {
    return refuseMethod('invalidateCache');
  }

  /** Refused: see `invalidateCache`. */
  cleanupCache(): never {
    return refuseMethod('cleanupCache');
  }
}

/** Sessions in PostgreSQL. Call `connect` before use; `createPostgresStore` does. */
export class PostgresAuthStore extends VaultStore {
  /** @throws ConfigError naming the field */
  constructor(config: PostgresStoreConfig | Prepared, crypto?: CryptoService, codec?: CodecService) {
    super(
      config instanceof Prepared ? unpack(config) : resolvePostgresStore(config, servicesOf(crypto, codec)),
    );
  }

  /** Refused: the connections belong to the core, and whoever writes beside it breaks fencing. */
  getClient(): never {
    return refuseMethod('getClient');
  }
}

/** Circuit breaker of one server. */
export interface BreakerStats {
  state: 'closed' | 'half-open' | 'open';
  [figure: string]: unknown;
}

/** Progress of the outbox. */
export interface OutboxReconcilerStats {
  totalProcessed: number;
  totalCompleted: number;
  totalFailed: number;
  totalRetried: number;
  /** Milliseconds. */
  avgLatency: number;
  /** Milliseconds since 1970. */
  lastRunAt: number;
  [figure: string]: unknown;
}

/** An outbox entry that can never be applied. */
export interface DeadLetter {
  sessionId: string;
  version: number;
  reason: string;
  [fact: string]: unknown;
}

/** Sessions in Redis, with MongoDB or PostgreSQL as the primary. Call `connect` before use; `createHybridStore` does. */
export class HybridAuthStore extends VaultStore {
  readonly #parts: readonly VaultStore[];

  /**
   * `redis` and `primary` say where the data is and how it is sealed; they stay usable by themselves, and are
   * disconnected with this store.
   *
   * @throws ConfigError naming the field
   */
  constructor(
    redis: RedisAuthStore | Prepared,
    primary?: MongoAuthStore | PostgresAuthStore,
    config?: HybridStoreConfig,
  ) {
    super(redis instanceof Prepared ? unpack(redis) : joined(redis, primary, config));
    this.#parts = redis instanceof Prepared || primary === undefined ? [] : [redis, primary];
  }

  override async disconnect(): Promise<void> {
    await super.disconnect();
    await Promise.all(this.#parts.map((part) => part.disconnect()));
  }

  /** Whether the primary's circuit breaker is open. */
  isMongoCircuitBreakerOpen(): boolean {
    return this.getCircuitBreakerStats().state === 'open';
  }

  /** Metrics of the primary's circuit breaker. */
  getCircuitBreakerStats(): BreakerStats {
    const { breakers } = this.stats() as { breakers?: Record<string, BreakerStats> };
    return breakers?.mongodb ?? breakers?.postgres ?? { state: 'closed' };
  }

  /** Metrics of the outbox, or null where there is none: without `enableWriteBehind` and `outboxWhenMongoDown`. */
  getOutboxStats(): OutboxReconcilerStats | null {
    return (this.stats() as { outbox?: OutboxReconcilerStats | null }).outbox ?? null;
  }

  /** Outbox entries that can never be applied, each with the reason. */
  async getDeadLetterEntries(): Promise<DeadLetter[]> {
    const { thread, id } = this.use();
    return (await thread.json(thread.core.deadLetters(id))) as DeadLetter[];
  }

  /** Applies what waits in the outbox now, and resolves when it is applied or has failed again. */
  async reconcileOutbox(): Promise<void> {
    const { thread, id } = this.use();
    await thread.json(thread.core.reconcileOutbox(id));
  }

  /** Metrics of the read and write path since the store was opened. */
  getMetrics(): HybridMetrics {
    const { metrics = {} } = this.stats() as { metrics?: Record<string, number> };
    const of = (name: string): number => metrics[name] ?? 0;
    const totalRequests = of('redisHits') + of('redisMisses');
    return {
      redisHits: of('redisHits'),
      redisMisses: of('redisMisses'),
      mongoFallbacks: of('mongoFallbacks'),
      queuePublishes: of('queuePublishes'),
      queueFailures: of('queueFailures'),
      directWrites: of('directWrites'),
      hitRatio: totalRequests === 0 ? 0 : of('redisHits') / totalRequests,
      totalRequests,
    };
  }

  /** Refused: counters of Prometheus only ever grow. */
  resetMetrics(): never {
    return refuseMethod('resetMetrics');
  }
}

/** What `getMetrics` answers: of all sessions of the process on these servers, beyond what owners answer from memory. */
export interface HybridMetrics {
  /** Reads that Redis answered whole. */
  redisHits: number;
  /** Reads that it did not, or was not asked for. */
  redisMisses: number;
  /** Reads that MongoDB answered. */
  mongoFallbacks: number;
  /** Outbox entries that the queue was told of … */
  queuePublishes: number;
  /** … and did not take. */
  queueFailures: number;
  /** Commits that MongoDB had before they were acknowledged. */
  directWrites: number;
  /** `redisHits` of `totalRequests`, 0 to 1. */
  hitRatio: number;
  totalRequests: number;
}

function joined(redis: unknown, primary: unknown, config: unknown): StoreSettings {
  if (!(redis instanceof RedisAuthStore)) {
    throw new ConfigError('redis', 'expected a RedisAuthStore');
  }
  if (!(primary instanceof MongoAuthStore || primary instanceof PostgresAuthStore)) {
    throw new ConfigError('mongo', 'expected a MongoAuthStore or a PostgresAuthStore');
  }
  return resolveHybridStore(config, settingsOf(redis), settingsOf(primary));
}

/** A connected Redis store. */
export async function createRedisStore(
  config: RedisStoreConfig,
  crypto?: CryptoService,
  codec?: CodecService,
): Promise<RedisAuthStore> {
  const store = new RedisAuthStore(config, crypto, codec);
  await store.connect();
  return store;
}

/** A connected MongoDB store. */
export async function createMongoStore(
  config: MongoAuthStoreConfig,
  crypto?: CryptoService,
  codec?: CodecService,
): Promise<MongoAuthStore> {
  const store = new MongoAuthStore(config, crypto, codec);
  await store.connect();
  return store;
}

/** A connected PostgreSQL store. */
export async function createPostgresStore(
  config: PostgresStoreConfig,
  crypto?: CryptoService,
  codec?: CodecService,
): Promise<PostgresAuthStore> {
  const store = new PostgresAuthStore(config, crypto, codec);
  await store.connect();
  return store;
}

/** A connected hybrid store, in the places and with the keys of the two stores it is made of. */
export async function createHybridStore(
  redis: RedisAuthStore,
  primary: MongoAuthStore | PostgresAuthStore,
  config: HybridStoreConfig,
): Promise<HybridAuthStore> {
  const store = new HybridAuthStore(redis, primary, config);
  await store.connect();
  return store;
}
