/** That `lib/native/core.d.ts`, which `npm run build:native` writes, says what the addon has. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { loadNative } from '../../lib/native/load.js';

const LIB = join(__dirname, '../../lib');
const METHOD = /^ {2}(\w+)\(.*\): /gm;

const DECLARED = [...readFileSync(join(LIB, 'native/core.d.ts'), 'utf8').matchAll(METHOD)].map(
  ([, name]) => name as string,
);

it('the declared methods of the core are those of the addon', () => {
  const present = Object.getOwnPropertyNames(loadNative().prototype).filter((name) => name !== 'constructor');
  assert.deepEqual([...DECLARED].sort(), present.sort());
});

it('every method of the core is called', () => {
  const sources = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.ts$/.test(file) && !file.endsWith('.d.ts'))
    .map((file) => readFileSync(join(LIB, file), 'utf8'))
    .join('\n');
  const uncalled = DECLARED.filter((name) => !sources.includes(`core.${name}(`));
  assert.deepEqual(uncalled, []);
});
