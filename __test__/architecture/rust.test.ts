/** Which Rust module may use which, and that no files use each other in a circle. Tests inside of `src` do not count. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { circlesOf, readUses, type Sources, type Uses } from './rust-imports.js';

const ROOT = resolve(__dirname, '../..');

interface Module {
  /** Its path below `src`, without `.rs`. */
  name: string;
  /** Modules that it may use beside itself, all of which stand above it here. */
  may: string[];
  /** What the rule protects. */
  why: string;
}

/** From the bottom up. A file belongs to the module with the longest path that it is in. */
const MODULES: Module[] = [
  { name: 'error', may: [], why: 'Everything returns these errors.' },
  { name: 'answer', may: ['error'], why: 'Carries a result to whoever waits, whatever the result is.' },
  { name: 'runtime', may: ['error'], why: 'Threads know nothing of what runs on them.' },
  { name: 'time', may: [], why: 'Clocks and pauses are the same for every module.' },
  { name: 'observe', may: [], why: 'Counting must be possible from anywhere.' },
  { name: 'record', may: ['error'], why: 'Patches and seals are the same wherever they are stored.' },
  {
    name: 'backend',
    may: ['error', 'time', 'record'],
    why: 'The trait says what every storage promises, so it must not know any of them.',
  },
  {
    name: 'backend/embedded',
    may: ['error', 'runtime', 'time', 'record', 'backend'],
    why: 'Storages are independent.',
  },
  {
    name: 'backend/redis',
    may: ['error', 'runtime', 'time', 'record', 'backend'],
    why: 'Storages are independent.',
  },
  {
    name: 'backend/mongo',
    may: ['error', 'runtime', 'time', 'record', 'backend'],
    why: 'Storages are independent.',
  },
  {
    name: 'backend/postgres',
    may: ['error', 'runtime', 'time', 'record', 'backend'],
    why: 'Storages are independent.',
  },
  {
    name: 'config',
    may: ['error', 'record', 'backend', 'backend/embedded', 'backend/redis', 'backend/mongo'],
    why: 'Reads options. It opens nothing.',
  },
  {
    name: 'resilience',
    may: ['error', 'runtime', 'time', 'observe', 'record', 'backend', 'config'],
    why: 'Wraps any backend, so it must not know which one.',
  },
  {
    name: 'foreign',
    may: [
      ...['error', 'runtime', 'config', 'resilience'],
      ...['backend', 'backend/embedded', 'backend/redis', 'backend/mongo'],
    ],
    why: "Reads other libraries' data by the storages' connections. It knows nothing of sessions, and writes nothing.",
  },
  {
    name: 'hybrid',
    may: [
      ...['error', 'runtime', 'time', 'record', 'backend', 'resilience'],
      ...['backend/redis', 'backend/mongo', 'backend/postgres'],
    ],
    why: 'Joins two storages, each behind its own circuit breaker.',
  },
  {
    name: 'session',
    may: ['error', 'answer', 'runtime', 'time', 'observe', 'record', 'backend'],
    why: 'Order, ownership and memory of a session are the same for every backend: it must not name one.',
  },
  {
    name: 'stores',
    may: [
      ...['error', 'runtime', 'time', 'record', 'backend', 'config', 'resilience', 'session'],
      ...['backend/embedded', 'backend/redis', 'backend/mongo', 'backend/postgres', 'hybrid'],
    ],
    why: 'Knows every storage and how each is wired, so that nothing else must.',
  },
  {
    name: 'node',
    may: [
      ...['error', 'answer', 'time', 'observe', 'record', 'backend', 'config', 'resilience', 'session'],
      ...['runtime', 'hybrid', 'foreign', 'stores'],
    ],
    why: 'The boundary to JavaScript: it converts. Nothing below may depend on N-API.',
  },
];

/** Circles that are still there, each with what ties it. Take one out when it is opened. */
const KNOWN_CIRCLES: { files: string[]; tie: string }[] = [];

function sourcesIn(folder: string): Sources {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((file) => `${folder}/${file.replaceAll('\\', '/')}`)
    .filter((file) => file.endsWith('.rs'));
  return new Map(files.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));
}

/** How napi's types and attributes look in code. */
const NAPI = /\bnapi(?:_derive)?\s*::|#\[napi\b/;

const nameOf = (file: string): string => file.replace(/^src\//, '').replace(/(\/mod)?\.rs$/, '');

const moduleOf = (file: string): string | undefined =>
  MODULES.map(({ name }) => name)
    .filter((name) => nameOf(file) === name || nameOf(file).startsWith(`${name}/`))
    .sort((one, other) => other.length - one.length)[0];

/** What of `uses` the table does not allow. */
function violationsIn(uses: Uses): string[] {
  return [...uses].flatMap(([file, used]) => {
    const module = moduleOf(file);
    const may = MODULES.find(({ name }) => name === module)?.may ?? [];
    return [...used]
      .filter((other) => moduleOf(other) !== module && !may.includes(moduleOf(other) ?? ''))
      .map((other) => `${file} uses ${other}`);
  });
}

describe('Rust modules', () => {
  const sources = sourcesIn('src');
  const uses = readUses(sources);

  it('have types of N-API at the boundary alone', () => {
    const files = [...sources].filter(([, text]) => NAPI.test(text)).map(([file]) => nameOf(file));
    assert.deepEqual([...new Set(files.map((file) => file.split('/')[0]))], ['node']);
    for (const text of ['use napi::Status;', 'use napi_derive::napi;', '#[napi(catch_unwind)]']) {
      assert.match(text, NAPI);
    }
  });

  it('are all in the table, and none but those', () => {
    const files = [...uses.keys()].filter((file) => file !== 'src/lib.rs');
    assert.ok(files.length > 100, `only ${files.length} files were read`);
    const found = files.map((file) => moduleOf(file) ?? `${file} is in no module of the table`);
    assert.deepEqual([...new Set(found)].sort(), MODULES.map(({ name }) => name).sort());
  });

  it('use only what the table allows', () => {
    assert.deepEqual(violationsIn(uses), []);
  });

  it('are allowed nothing that stands below them in the table', () => {
    const order = MODULES.map(({ name }) => name);
    for (const [index, { name, may }] of MODULES.entries()) {
      assert.deepEqual(
        may.filter((other) => !order.slice(0, index).includes(other)),
        [],
        name,
      );
    }
  });

  it('use nothing that stands above their folder', () => {
    const order = MODULES.map(({ name }) => name);
    const above = MODULES.filter(({ name, may }) => {
      const folder = name.split('/')[0] as string;
      return (
        folder !== name &&
        may.some((other) => !other.startsWith(`${folder}/`) && order.indexOf(other) > order.indexOf(folder))
      );
    });
    assert.deepEqual(
      above.map(({ name }) => name),
      [],
    );
  });

  it('have no files that use each other in a circle, but for those named', () => {
    const circles = circlesOf(uses).map((files) => files.map(nameOf));
    const unknown = circles.filter(
      (files) => !KNOWN_CIRCLES.some((known) => files.every((file) => known.files.includes(file))),
    );
    assert.deepEqual(unknown, []);
    for (const { files: known } of KNOWN_CIRCLES) {
      // Also when it has become smaller: its list then says too much.
      assert.ok(
        circles.some((files) => files.join() === [...known].sort().join()),
        `the circle of ${known.join(', ')} is another one now, or none: say so in KNOWN_CIRCLES`,
      );
    }
  });
});

describe('reading Rust sources', () => {
  const usesOf = (files: Record<string, string>): Record<string, string[]> => {
    const sources = new Map(Object.entries(files).map(([name, text]) => [`src/${name}`, text]));
    const found = [...readUses(sources)].map(([file, used]) => [nameOf(file), [...used].map(nameOf).sort()]);
    return Object.fromEntries(found) as Record<string, string[]>;
  };

  it('follows declarations, paths in code and re-exports to the file that defines a name', () => {
    const uses = usesOf({
      'lib.rs': 'pub mod error;\nmod record;\nmod node;',
      'error.rs': 'pub struct Error;',
      'record/mod.rs': 'mod key;\nmod seal;\npub use key::{Key, Other as Alias};\npub fn open() {}',
      'record/key.rs': 'use super::seal::Seal;',
      'record/seal.rs': 'fn f() -> crate::error::Error { super::open() }',
      'node.rs':
        'use std::sync::Arc;\nuse crate::{\n  error::{self, Error},\n  record::{Alias, Key},\n};\nfn f() {}',
    });
    assert.deepEqual(uses, {
      lib: [],
      error: [],
      record: [],
      'record/key': ['record/seal'],
      'record/seal': ['error', 'record'],
      node: ['error', 'record/key'],
    });
  });

  it('leaves out tests, comments and texts', () => {
    const uses = usesOf({
      'lib.rs': 'mod a;\nmod b;\n#[cfg(test)]\nmod tests;',
      'a.rs': [
        "// use crate::b::B;\nfn a<'a>(x: &'a str) -> char { let _ = \"use crate::b;\"; '\"' }",
        '#[cfg(test)]\nmod tests {\n  use crate::b::B;\n  fn f() { if true {} }\n}',
        '#[cfg(test)]\npub fn only(b: crate::b::B) -> [u8; 2] { [0; 2] }',
        '#[cfg(all(test, unix))]\nuse crate::b::C;',
      ].join('\n'),
      'b.rs': '#[cfg(test)]\nuse crate::a::A;\nuse crate::a::D;',
      'tests.rs': 'use crate::a::A;',
    });
    assert.deepEqual(uses, { lib: [], a: [], b: ['a'] });
  });

  it('finds circles, and uses that the table does not allow', () => {
    const uses: Uses = new Map([
      ['src/record/key.rs', new Set(['src/record/seal.rs', 'src/error.rs'])],
      ['src/record/seal.rs', new Set(['src/record/frame.rs'])],
      ['src/record/frame.rs', new Set(['src/record/key.rs', 'src/session/vault.rs'])],
      ['src/session/vault.rs', new Set(['src/record/key.rs', 'src/backend/redis/mod.rs'])],
    ]);
    assert.deepEqual(
      circlesOf(uses).map((files) => files.map(nameOf)),
      [['record/frame', 'record/key', 'record/seal', 'session/vault']],
    );
    assert.deepEqual(violationsIn(uses), [
      'src/record/frame.rs uses src/session/vault.rs',
      'src/session/vault.rs uses src/backend/redis/mod.rs',
    ]);
  });
});
