/**
 * The contract between Baileys and its auth-state store, as tests that any store can be put to:
 *
 *     import { testAuthStore } from 'baileys-vault/conformance';
 *     testAuthStore((folder) => useMyAuthState(folder), { name: 'my store' });
 *
 * Runs under node:test, vitest and jest.
 */
import { type Baileys, importBaileys } from './baileys.js';
import { type Case, whyNot } from './case.js';
import { CASES } from './cases/index.js';
import { detectFramework } from './framework.js';
import type { AuthStateFactory, ConformanceOptions } from './types.js';
import { Workbench } from './workbench.js';

export type {
  AuthStateFactory,
  Capabilities,
  ConformanceOptions,
  CrashOptions,
  DamageTarget,
  OpenedAuthState,
  TestFramework,
} from './types.js';

const DEFAULT_TIMEOUT_MS = 60_000;

/** Id and plain words of every case. */
export const CONFORMANCE_CASES: readonly { readonly id: string; readonly title: string }[] = CASES.map(
  ({ id, title }) => ({ id, title }),
);

/**
 * Registers a suite with a test for each case.
 *
 * @throws TypeError when `knownFailures` names a case that there is not or that would not be run
 */
export function testAuthStore(factory: AuthStateFactory, options: ConformanceOptions = {}): void {
  const { describe, it } = options.framework ?? detectFramework();
  checkKnownFailures(options);
  let loading: Promise<Baileys> | undefined;
  describe(options.name ?? (factory.name || 'auth store'), () => {
    for (const test of CASES) {
      const reason = whyNot(test, options);
      const known = options.knownFailures?.[test.id];
      const name = `${test.id}: ${test.title}`;
      const run = async () => {
        loading ??= importBaileys(options.baileys);
        await runCase(test, new Workbench(await loading, factory, options));
      };
      if (reason !== undefined) {
        it.skip(`${name} (${reason})`, run);
      } else if (known === undefined) {
        it(name, run, test.timeoutMs ?? DEFAULT_TIMEOUT_MS);
      } else {
        it(
          `${name} (known failure: ${known})`,
          () => mustFail(test, run),
          test.timeoutMs ?? DEFAULT_TIMEOUT_MS,
        );
      }
    }
  });
}

async function runCase(test: Case, bench: Workbench): Promise<void> {
  let failure: { error: unknown } | undefined;
  try {
    await test.run(bench);
  } catch (error) {
    failure = { error };
  }
  try {
    await bench.dispose();
  } catch (error) {
    // What went wrong first is what matters.
    failure ??= { error };
  }
  if (failure !== undefined) {
    throw failure.error;
  }
}

async function mustFail(test: Case, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch {
    return;
  }
  throw new Error(`${test.id} passes: remove it from knownFailures`);
}

function checkKnownFailures(options: ConformanceOptions): void {
  for (const id of Object.keys(options.knownFailures ?? {})) {
    const test = CASES.find((candidate) => candidate.id === id);
    if (test === undefined) {
      throw new TypeError(`knownFailures names ${JSON.stringify(id)}, which is no case`);
    }
    const reason = whyNot(test, options);
    if (reason !== undefined) {
      throw new TypeError(`knownFailures names ${JSON.stringify(id)}, which is not run: ${reason}`);
    }
  }
}
