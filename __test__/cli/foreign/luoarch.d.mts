import type { MadeSession } from '../support.js';

/** How the package stores values. */
export interface Security {
  encryption?: 'secretbox' | 'aes-256-gcm';
  compression?: 'snappy' | 'gzip';
}

/** Where it stores them. */
export type Place = { redisUrl: string } | { mongoUrl: string; databaseName: string; collectionName: string };

export interface Options {
  place: Place;
  security: Security;
  masterKey: string;
}

export interface LuoarchStore {
  get(sessionId: string): Promise<{ data: MadeSession; version: number } | null>;
  set(sessionId: string, patch: Partial<MadeSession>, expectedVersion?: number): Promise<unknown>;
  disconnect(): Promise<void>;
}

/** Fetches the real package into a folder; false where there is no registry. */
export function fetchLuoarch(folder: string): boolean;

/** Its store, as its own functions make it. */
export function openLuoarch(folder: string, options: Options): Promise<LuoarchStore>;

/** Its auth state for a socket. */
export function useLuoarch(
  folder: string,
  options: Options & { sessionId: string },
): Promise<{
  state: {
    creds: Record<string, unknown>;
    keys: Record<'get' | 'set', (...words: never[]) => Promise<unknown>>;
  };
  saveCreds(): Promise<void>;
  store: LuoarchStore;
}>;
