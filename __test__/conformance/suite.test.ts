/** The suite itself: it passes a store without faults, and finds each fault that it is there to find. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { AuthStateFactory, ConformanceOptions, TestFramework } from '../../lib/conformance/index.js';
import { type Faults, memoryStore } from './memory-store.js';

const {
  testAuthStore,
  CONFORMANCE_CASES,
}: typeof import('../../lib/conformance/index.js') = require('../../dist/conformance/index.js');

interface Outcome {
  failed: string[];
  passed: string[];
  skipped: string[];
}

/** Runs the suite in place of a test framework; of the cases, those in `only` if given. */
async function run(
  factory: AuthStateFactory,
  options: ConformanceOptions = {},
  only?: readonly string[],
): Promise<Outcome> {
  const outcome: Outcome = { failed: [], passed: [], skipped: [] };
  const tests: { id: string; body: () => Promise<void> }[] = [];
  const idOf = (name: string) => name.slice(0, name.indexOf(':'));
  const framework: TestFramework = {
    describe: (_name, body) => body(),
    it: Object.assign(
      (name: string, body: () => Promise<void>) => {
        tests.push({ id: idOf(name), body });
      },
      { skip: (name: string) => outcome.skipped.push(idOf(name)) },
    ),
  };
  testAuthStore(factory, { ...options, framework });
  for (const { id, body } of tests.filter(({ id }) => only?.includes(id) ?? true)) {
    try {
      await body();
      outcome.passed.push(id);
    } catch {
      outcome.failed.push(id);
    }
  }
  return outcome;
}

/** Each fault, and the cases that have to find it. */
const FINDS: readonly (readonly [fault: keyof Faults, cases: readonly string[]])[] = [
  ['aliases', ['aliasing.results', 'aliasing.arguments', 'aliasing.arguments-unawaited']],
  [
    'encodesLate',
    ['aliasing.arguments-unawaited', 'aliasing.patch-unawaited', 'concurrency.read-your-write'],
  ],
  ['rewritesAll', ['concurrency.sets', 'concurrency.per-type', 'restarts.close-drains']],
  ['commitsInParts', ['concurrency.not-torn']],
  ['ignoresNull', ['absence.null-deletes', 'absence.mixed', 'absence.come-back']],
  ['keepsFalsy', ['values.falsy']],
  ['needsKeys', ['restarts.creds-first', 'values.creds-new', 'values.creds-paired']],
  ['bareBytes', ['values.bytes', 'values.pre-key', 'values.tctoken', 'values.app-state-sync-version']],
  ['plainAppStateKeys', ['values.app-state-sync-key', 'values.app-state-key-usable']],
  ['joinsNames', ['ids.type-boundary']],
  ['oneForAll', ['values.new-identity']],
];

describe('the conformance suite', () => {
  it('passes a store without faults', async () => {
    const { failed, passed, skipped } = await run(memoryStore(), { capabilities: { veryLongIds: true } });
    assert.deepEqual(failed, []);
    assert.deepEqual(skipped, ['extras.clear', 'extras.list', 'damage.creds', 'damage.record', 'crash.kill']);
    assert.equal(passed.length + skipped.length, CONFORMANCE_CASES.length);
  });

  for (const [fault, cases] of FINDS) {
    it(`finds a store that ${fault.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)}`, async () => {
      const { failed } = await run(memoryStore({ [fault]: true }), {}, cases);
      assert.deepEqual(failed.sort(), [...cases].sort());
    });
  }

  it('wants known failures to go on failing', async () => {
    const knownFailures = { 'aliasing.results': 'a fault', 'absence.mixed': 'no fault any more' };
    const { failed, passed } = await run(
      memoryStore({ aliases: true }),
      { knownFailures },
      Object.keys(knownFailures),
    );
    assert.ok(passed.includes('aliasing.results'));
    assert.ok(failed.includes('absence.mixed'));
  });

  it('refuses known failures of cases that are not run', () => {
    const refused = (id: string) => () =>
      testAuthStore(memoryStore(), {
        knownFailures: { [id]: 'a fault' },
        framework: { describe, it } as TestFramework,
      });
    assert.throws(refused('no.such-case'), /no case/);
    assert.throws(refused('crash.kill'), /not run/);
    assert.throws(refused('ids.very-long'), /not run/);
  });

  it('has an id of its own for each case', () => {
    assert.equal(new Set(CONFORMANCE_CASES.map(({ id }) => id)).size, CONFORMANCE_CASES.length);
  });

  it('takes the globals of vitest and jest where there are some', () => {
    const seen: string[] = [];
    const it = Object.assign((name: string) => seen.push(name), { skip: (name: string) => seen.push(name) });
    const globals = globalThis as { describe?: unknown; it?: unknown };
    Object.assign(globals, { describe: (_name: string, body: () => void) => body(), it });
    try {
      testAuthStore(memoryStore());
    } finally {
      delete globals.describe;
      delete globals.it;
    }
    assert.equal(seen.length, CONFORMANCE_CASES.length);
  });
});
