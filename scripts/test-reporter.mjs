/**
 * Node's `spec` reporter, except for the end: there come the skipped cases by name, grouped by reason, the steps of
 * the test run that failed earlier, and last Node's own summary.
 */
import { existsSync, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { spec as Spec } from 'node:test/reporters';

/** Steps of the test run that have failed before this one, separated by commas. */
const FAILED_STEPS = process.env.BAILEYS_VAULT_FAILED_STEPS ?? '';

/** One line, `reason<tab>name`, for each Rust test that was skipped. */
const RUST_TESTS = process.env.BAILEYS_VAULT_SKIPPED_RUST_TESTS ?? '';

function rustTests() {
  if (!existsSync(RUST_TESTS)) return [];
  const lines = readFileSync(RUST_TESTS, 'utf8').trim().split('\n').sort();
  return lines.map((line) => line.split('\t'));
}

const SUMMARY = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/;

/** Keeps back what belongs at the end and collects skipped cases; everything else passes through. */
async function* withoutSummary(events, summary, skipped) {
  /** Names of the test being reported and of those around it. */
  const path = [];
  for await (const event of events) {
    const { type, data } = event;
    if (type === 'test:diagnostic' && data.nesting === 0 && SUMMARY.test(data.message)) {
      summary.push(data.message);
      continue;
    }
    if (type === 'test:start') {
      path.length = data.nesting;
      path[data.nesting] = data.name;
    }
    if (type === 'test:pass' && data.skip !== undefined && data.skip !== false) {
      const reason = typeof data.skip === 'string' && data.skip !== '' ? data.skip : 'no reason given';
      const name = [...path.slice(0, data.nesting), data.name].join(' > ');
      skipped.set(reason, [...(skipped.get(reason) ?? []), name]);
    }
    yield event;
  }
}

export default async function* report(events) {
  const summary = [];
  const skipped = new Map();
  for (const [reason, name] of rustTests()) {
    const group = `Rust tests need ${reason}`;
    skipped.set(group, [...(skipped.get(group) ?? []), name]);
  }
  yield* Readable.from(withoutSummary(events, summary, skipped)).pipe(new Spec());
  for (const [reason, names] of skipped) {
    yield `\nSkipped: ${reason}\n`;
    for (const name of names) yield `  - ${name}\n`;
  }
  if (FAILED_STEPS !== '') yield `\nFailed before these tests: ${FAILED_STEPS}\n`;
  yield '\n';
  for (const line of summary) yield `# ${line}\n`;
}
