/**
 * `npm run bench`: the store against Baileys' own `useMultiFileAuthState`, a bare map in memory, and other clients of
 * the same servers.
 *
 *     npm run bench -- [--quick] [--only <scenario>] [--out <file>] [--help]
 *
 * Prints Markdown; writes every sample to `benches/results/latest.json` or the file given.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { SCENARIOS } from './scenarios/index.js';
import { contendersOf } from './support/contenders.js';
import type { Result } from './support/measure.js';
import { loadBaileys } from './support/packages.js';
import { makeRecords } from './support/records.js';
import { tableOf } from './support/table.js';
import { judge, verdictTable } from './targets.js';

const EFFORT = { rounds: 9, budgetMs: 80 };
const QUICK_EFFORT = { rounds: 3, budgetMs: 25 };

function help(): string {
  const lines = SCENARIOS.map(
    ({ id, title, heavy }) => `  ${id.padEnd(8)} ${title}${heavy === true ? ' (only with --only)' : ''}`,
  );
  return [
    'npm run bench -- [--quick] [--only <scenario>] [--out <file>]',
    '',
    '  --quick  fewer rounds, fewer and smaller cases',
    '  --only   one scenario; without it, those that take no more than a minute each',
    '  --out    file for every sample, JSON; default benches/results/latest.json',
    '',
    'Scenarios start the servers they need, and are skipped, with the reason, where they cannot:',
    '',
    ...lines,
  ].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(help());
    return;
  }
  const { quick, only } = values;
  const chosen = SCENARIOS.filter(({ id, heavy }) => (only === undefined ? heavy !== true : id === only));
  if (chosen.length === 0) {
    throw new Error(`no scenario ${only}; there are ${SCENARIOS.map(({ id }) => id).join(', ')}`);
  }
  const baileys = await loadBaileys();
  const records = await makeRecords(baileys);
  const notes: string[] = [];
  const setup = {
    baileys,
    contenders: contendersOf(baileys),
    records,
    effort: quick ? QUICK_EFFORT : EFFORT,
    quick,
    // Not to the output, which is to be pasted.
    progress: (text: string) => process.stderr.write(`  ${text}\n`),
    note: (text: string) => {
      if (!notes.includes(text)) {
        notes.push(text);
      }
    },
  };
  const machine = {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    sessionJsonBytes: records.sessionJsonBytes,
    rounds: setup.effort.rounds,
    load: loadavg()[0],
  };
  console.log(
    `${machine.cores} × ${machine.processor}, Node ${machine.node}. A session record is ` +
      `${machine.sessionJsonBytes} bytes of JSON. Medians of interleaved rounds; in brackets, of the baseline’s figure.`,
  );
  const results: Result[] = [];
  const skipped: { scenario: string; reason: string }[] = [];
  for (const scenario of chosen) {
    const missing = scenario.missing?.();
    if (missing !== undefined) {
      skipped.push({ scenario: scenario.id, reason: missing });
      console.log(`\n### ${scenario.title}\n\nSkipped: ${missing}`);
      continue;
    }
    const found = await scenario.run(setup);
    results.push(...found);
    console.log(`\n### ${scenario.title}\n\n${tableOf(found, scenario.baseline)}`);
  }
  const verdicts = judge(results);
  if (verdicts.length > 0) {
    console.log(`\n### Targets\n\n${verdictTable(verdicts)}`);
  }
  for (const note of notes) {
    console.log(`\n${note}`);
  }
  const out = resolve(values.out ?? join(__dirname, 'results', 'latest.json'));
  mkdirSync(dirname(out), { recursive: true });
  const report = { at: new Date().toISOString(), quick, machine, skipped, verdicts, notes, results };
  writeFileSync(out, `${JSON.stringify(report, null, 1)}\n`);
}

void main();
