import type { AuthStateResult } from '../../lib/index.js';

export const vault: typeof import('../../lib/index.js', { with: { 'resolution-mode': 'require' }});
export const MASTER_KEY: string;
/** In ms. */
export const OPERATION_TIMEOUT: number;

/** `outbox`: write-through with `outboxWhenMongoDown`. */
export type Mode =
  | 'embedded'
  | 'redis'
  | 'mongo'
  | 'postgres'
  | 'write-through'
  | 'outbox'
  | 'write-behind'
  | 'postgres-through'
  | 'postgres-behind';

/** Where sessions are, and how they are opened. */
export interface Place {
  mode: Mode;
  redisUrl: string;
  mongoUrl: string;
  postgresUrl?: string;
  /** Of PostgreSQL, the schema. */
  database: string;
  /** Of the embedded store. */
  folder?: string;
  /** In seconds. Default 5. */
  lockTtl?: number;
  /** Of a session, in seconds. Default: none. */
  ttl?: number;
  /** Default true. */
  exclusive?: boolean;
  /** With `MASTER_KEY`. Default true. */
  sealed?: boolean;
  /** Default false. */
  acceptLostOutbox?: boolean;
  /** Of Redis. Default none. */
  waitReplicas?: { count: number; timeout?: number } | undefined;
}

export function open(
  place: Place,
  sessionId: string,
  options?: Record<string, unknown>,
): Promise<AuthStateResult>;

/** Opens like `open`, again and again while a busy server gives errors that may pass; for a minute. */
export const openPatiently: typeof open;
