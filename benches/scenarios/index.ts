import { hybrid } from './hybrid.js';
import { keys } from './keys.js';
import { memory } from './memory.js';
import { move } from './move.js';
import { open } from './open.js';
import { peers } from './peers.js';
import { postgres } from './postgres.js';
import { redis } from './redis.js';
import { scale } from './scale.js';
import type { Scenario } from './scenario.js';
import { storm } from './storm.js';

/** To add one, append it. */
export const SCENARIOS: readonly Scenario[] = [
  keys,
  open,
  storm,
  memory,
  redis,
  postgres,
  peers,
  hybrid,
  scale,
  move,
];
