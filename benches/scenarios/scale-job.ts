import { join } from 'node:path';

/** The process that holds the sessions. */
export const CHILD = join(__dirname, 'scale-child.mjs');

/** What a child is to do. */
export interface Job {
  mode: string;
  masterKey: string;
  folder?: string;
  redisUrl?: string;
  mongoUrl?: string;
  postgresUrl?: string;
}
