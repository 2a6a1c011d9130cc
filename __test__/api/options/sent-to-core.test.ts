/**
 * What the core is sent when a program says no more than it must: every default, since the core has none of its own.
 * The Rust test `config::tests::every_option_must_be_given` reads the same file.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { StoreSettings } from '../../../lib/options/shared.js';
import { folder, hybrid, mongo, postgres, redis } from './resolve.js';

const SENT = JSON.parse(readFileSync(join(__dirname, 'sent-to-core.json'), 'utf8')) as object;

/** As it crosses: JSON leaves out what is undefined. */
const sent = ({ config }: StoreSettings): Record<string, unknown> => JSON.parse(JSON.stringify(config));

it('the core is sent every default', () => {
  const embedded = sent(folder());
  // Depends on where the test runs.
  Object.assign(embedded.embedded as object, { folder: '/somewhere' });
  assert.deepEqual(
    {
      embedded,
      redis: sent(redis()),
      mongodb: sent(mongo()),
      postgres: sent(postgres()),
      hybrid: sent(hybrid()),
    },
    SENT,
  );
});
