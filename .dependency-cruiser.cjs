/**
 * Which file may import which. `__test__/architecture/typescript.test.ts` runs these rules; by hand:
 * `npx depcruise lib benches scripts __test__ examples`.
 */

/**
 * The modules of `lib`, from the bottom up. Each may import itself and the modules in `may`, all of which stand above
 * it here; `why` says what the rule protects.
 */
const LIB = [
  {
    name: 'errors',
    files: 'errors\\.ts$',
    may: [],
    why: 'Every module throws these errors, so they depend on none.',
  },
  {
    name: 'codec',
    files: 'codec/',
    may: ['errors'],
    why: 'The codec turns values into bytes and back. It knows nothing of sessions, stores or options.',
  },
  {
    name: 'program',
    files: 'program\\.ts$',
    may: [],
    why: 'Finds packages from where the program runs; the addon and Baileys are both looked up with it.',
  },
  {
    name: 'baileys',
    files: 'baileys/',
    may: ['errors', 'codec', 'program'],
    why: 'What this package knows of Baileys. It must not depend on how anything is stored.',
  },
  {
    name: 'native',
    files: 'native/[^/]+\\.ts$',
    may: ['errors', 'codec', 'program'],
    why: 'Talks to the addon in its own terms. Options and stores are translated before they get here.',
  },
  {
    name: 'foreign',
    files: 'native/foreign/',
    may: ['errors', 'native'],
    why: "Hands over other libraries' keys, documents and rows as they are. What they mean is the command line's to know.",
  },
  {
    name: 'dialects',
    files: 'compat/dialects/',
    may: [],
    why: 'Tables of names that other packages use. They are data, so that options can be read with them.',
  },
  {
    name: 'options',
    files: 'options/',
    may: ['errors', 'codec', 'dialects'],
    why: 'Checking options opens nothing and loads nothing: a wrong option is refused before anything happens.',
  },
  {
    name: 'compat',
    files: 'compat/[^/]+\\.ts$',
    may: ['errors', 'codec', 'baileys', 'options'],
    why: 'Stands in for the public API of other packages and is made of our own options, never of open stores.',
  },
  {
    name: 'store',
    files: 'store/',
    may: ['errors', 'codec', 'baileys', 'native', 'options', 'compat'],
    why: 'Stores work for any session of any caller; hooks and folders are built on them.',
  },
  {
    name: 'import',
    files: 'import/',
    may: ['errors', 'codec', 'baileys', 'options', 'store'],
    why: "Reads Baileys' own files. What becomes of them is decided by the folder.",
  },
  {
    name: 'folder',
    files: 'folder/',
    may: ['errors', 'codec', 'options', 'import', 'store'],
    why: 'The life cycle of a folder with one session; it does not know which hook opened it.',
  },
  {
    name: 'hooks',
    files: 'hooks/',
    may: ['errors', 'baileys', 'options', 'store', 'folder'],
    why: 'Hooks join options, a store and Baileys. Only entry points import them.',
  },
  {
    name: 'entry points',
    files: '(index|redis|mongodb|postgres|hybrid|types|crypto|metrics)\\.ts$',
    may: ['errors', 'baileys', 'native', 'options', 'compat', 'store', 'hooks'],
    why: 'The subpaths of package.json: lists of what is public. Nothing else imports them.',
  },
  {
    name: 'cli',
    files: 'cli/',
    may: ['errors', 'codec', 'program', 'baileys', 'foreign', 'options', 'store', 'import', 'folder'],
    why: 'The command line uses stores as a program does. Nothing imports it: whoever runs a bot does not load it.',
  },
  {
    name: 'conformance',
    files: 'conformance/',
    may: ['errors', 'baileys'],
    why: "The suite tests anybody's store by its public API, so it must not see the inside of ours.",
  },
];

const filesOf = (name) => `^lib/${LIB.find((module) => module.name === name).files}`;

const ruleOf = ({ name, may, why }) => ({
  name: `lib: ${name}`,
  severity: 'error',
  comment: why,
  from: { path: filesOf(name) },
  to: { path: '^(lib|benches|scripts|__test__|examples)/', pathNot: [name, ...may].map(filesOf) },
});

module.exports = {
  forbidden: [
    {
      name: 'no circles',
      severity: 'error',
      comment: 'Files in a circle can only be understood, tested and moved together. Types count too.',
      from: {},
      to: { circular: true },
    },
    {
      name: 'unresolved',
      severity: 'error',
      comment: 'An import that the rules cannot follow is one that they cannot check.',
      from: { path: '^(lib|benches|scripts)/' },
      to: { couldNotResolve: true, pathNot: '^@whiskeysockets/baileys$' },
    },
    {
      name: 'lib: a module for each file',
      severity: 'error',
      comment: 'A new file belongs to a module of the table, or is a new module with rules of its own.',
      from: { path: '^lib/', pathNot: LIB.map(({ name }) => filesOf(name)) },
      to: {},
    },
    {
      name: 'lib: no packages',
      severity: 'error',
      comment:
        'The package has no dependencies. Baileys is the one peer, loaded from where the program has it.',
      from: { path: '^lib/' },
      to: {
        dependencyTypesNot: ['core', 'local', 'type-only'],
        pathNot: ['^lib/', '(^|/)(@whiskeysockets/)?baileys(/|$)'],
      },
    },
    ...LIB.map(ruleOf),
    {
      name: 'scripts',
      severity: 'error',
      comment: 'Scripts set up, build and run everything else, so they must work before anything is built.',
      from: { path: '^scripts/' },
      to: { path: '^(lib|benches|__test__|examples)/' },
    },
    {
      name: 'benches',
      severity: 'error',
      comment: 'A benchmark measures the product. A change to a test must not change a figure.',
      from: { path: '^benches/' },
      to: { path: '^(__test__|examples)/' },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', '^dist/'] },
    exclude: { path: ['^target/', '^__test__/.*/programs/'] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.mts', '.mjs', '.js', '.cjs', '.d.ts', '.d.mts'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default'],
    },
  },
};
