import type { Code } from '../../lib/cli/doctor/catalogue.js';

/** What doctor finds on servers alone: `doctor-servers.test.ts` has all of it. */
export const SERVER_CODES: readonly Code[] = [
  'SESSION_EXPIRES',
  'TTL_INDEX',
  'ORPHANS',
  'OLD_STORE_LEFT',
  'CLOCK_SKEW',
  'DEAD_LETTERS',
  'OUTBOX_BEHIND',
  'OUTBOX_LOST',
];
