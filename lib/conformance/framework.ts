import { ConfigError } from '../errors.js';
import type { TestFramework } from './types.js';

/** The framework this process runs its tests with. */
export function detectFramework(): TestFramework {
  const { describe, it } = globalThis as Partial<TestFramework>;
  if (typeof describe === 'function' && typeof it === 'function') {
    return { describe, it };
  }
  if (process.env.VITEST !== undefined) {
    // vitest cannot be loaded from CommonJS, so only the caller can hand it over.
    throw new ConfigError('framework', 'vitest runs without globals: pass { describe, it } from vitest');
  }
  const nodeTest = require('node:test') as TestFramework;
  return { describe: nodeTest.describe, it: nodeTest.it };
}
