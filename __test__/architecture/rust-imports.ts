/**
 * Which Rust file uses which, read from the sources: `use` declarations and paths in code. Tests are left out, and a
 * name that a module re-exports counts as the file that defines it. Reads what rustfmt writes, not all of Rust.
 */
import { posix } from 'node:path';

/** Sources by path, e.g. `src/backend/mod.rs`. */
export type Sources = ReadonlyMap<string, string>;

/** By file: the files it uses. */
export type Uses = Map<string, Set<string>>;

interface Module {
  file: string;
  parent: Module | undefined;
  children: Map<string, Module>;
  /** What `use` brings into the module, by name. */
  names: Map<string, string[]>;
  /** Paths that the module's code depends on, as they are written. */
  paths: string[][];
}

const TEST_ONLY = /#\[cfg\((?:all\()?test\b[^\]]*\]/g;
const MODULE = /(?:^|\s)(?:pub(?:\([^)]*\))? )?mod (\w+);/g;
const USE = /(?:^|\s)(pub(?:\([^)]*\))? )?use ([^;]+);/g;

/** What each file uses that the crate's root leads to. */
export function readUses(sources: Sources, root = 'src/lib.rs'): Uses {
  const modules = new Map<string, Module>();
  const crate = readModule(sources, root, posix.dirname(root), undefined, modules);
  const uses: Uses = new Map();
  for (const [file, module] of modules) {
    const used = module.paths.map((path) => resolve(crate, module, path)?.file);
    uses.set(file, new Set(used.filter((other) => other !== undefined && other !== file) as string[]));
  }
  return uses;
}

function readModule(
  sources: Sources,
  file: string,
  folder: string,
  parent: Module | undefined,
  modules: Map<string, Module>,
): Module {
  const text = sources.get(file);
  if (text === undefined) {
    throw new Error(`${file} is missing`);
  }
  const code = withoutTests(withoutComments(text));
  const module: Module = { file, parent, children: new Map(), names: new Map(), paths: [] };
  modules.set(file, module);
  for (const [, name] of code.matchAll(MODULE) as Iterable<[string, string]>) {
    const inner = [`${folder}/${name}.rs`, `${folder}/${name}/mod.rs`].find((path) => sources.has(path));
    if (inner === undefined) {
      throw new Error(`${file} declares the module ${name}, which has no file`);
    }
    module.children.set(name, readModule(sources, inner, `${folder}/${name}`, module, modules));
  }
  let rest = code;
  for (const [whole, isPublic, tree] of code.matchAll(USE) as Iterable<
    [string, string | undefined, string]
  >) {
    rest = rest.replace(whole, ' ');
    for (const path of expand(tree.replaceAll(/\s+/g, ' ').trim())) {
      const name = path.pop() as string;
      module.names.set(name, path);
      // A module that re-exports an item of its own children does not use it.
      if (isPublic === undefined || !isOwn(module, path)) {
        module.paths.push(path);
      }
    }
  }
  for (const [path] of rest.matchAll(/\b(?:crate|super|self)(?:::\w+)+/g)) {
    module.paths.push(path.split('::'));
  }
  for (const name of module.children.keys()) {
    for (const [path] of rest.matchAll(new RegExp(`(?<!::)\\b${name}(?:::\\w+)+`, 'g'))) {
      module.paths.push(path.split('::'));
    }
  }
  return module;
}

const isOwn = (module: Module, [first, second]: string[]): boolean =>
  module.children.has((first === 'self' ? second : first) ?? '');

/** The module that defines what `path` names in `from`, undefined for another crate. */
function resolve(crate: Module, from: Module, path: readonly string[], depth = 0): Module | undefined {
  const [first] = path;
  let at: Module | undefined;
  let index = 1;
  if (first === 'crate') {
    at = crate;
  } else if (first === 'self') {
    at = from;
  } else if (first === 'super') {
    at = from.parent;
    for (; path[index] === 'super'; index++) {
      at = at?.parent;
    }
  } else if (from.children.has(first ?? '')) {
    at = from;
    index = 0;
  }
  for (; at !== undefined && index < path.length; index++) {
    const name = path[index] as string;
    const child = at.children.get(name);
    if (child === undefined) {
      const imported = at.names.get(name);
      return imported === undefined || depth > 8 ? at : (resolve(crate, at, imported, depth + 1) ?? at);
    }
    at = child;
  }
  return at;
}

/** The paths that a `use` tree spells, each followed by the name that it brings in. */
function expand(tree: string, prefix: string[] = []): string[][] {
  const brace = tree.indexOf('{');
  if (brace < 0) {
    const [path, alias] = tree.split(' as ') as [string, string?];
    const parts = [...prefix, ...path.trim().split('::')].filter((part) => part !== '');
    const last = parts.at(-1) as string;
    if (last === 'self' && parts.length > 1) {
      parts.pop();
    }
    return [[...parts.filter((part) => part !== '*'), alias?.trim() ?? (parts.at(-1) as string)]];
  }
  const before = tree
    .slice(0, brace)
    .split('::')
    .map((part) => part.trim())
    .filter(Boolean);
  const inner = tree.slice(brace + 1, tree.lastIndexOf('}'));
  return splitAtCommas(inner).flatMap((part) => expand(part.trim(), [...prefix, ...before]));
}

function splitAtCommas(text: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const character of text) {
    depth += character === '{' ? 1 : character === '}' ? -1 : 0;
    if (character === ',' && depth === 0) {
      parts.push('');
    } else {
      parts[parts.length - 1] += character;
    }
  }
  return parts.filter((part) => part.trim() !== '');
}

/** Comments, texts and characters hold words that look like code. */
const withoutComments = (text: string): string =>
  text.replaceAll(
    /\/\/[^\n]*|\/\*[\s\S]*?\*\/|b?r(#*)"[\s\S]*?"\1|b?"(?:\\[\s\S]|[^"\\])*"|b?'(?:\\[^']+|[^'\\])'/g,
    ' ',
  );

/** Each item behind `#[cfg(test)]` taken out. */
function withoutTests(code: string): string {
  let result = '';
  let from = 0;
  TEST_ONLY.lastIndex = 0;
  for (let match = TEST_ONLY.exec(code); match !== null; match = TEST_ONLY.exec(code)) {
    result += code.slice(from, match.index);
    from = endOfItem(code, match.index + match[0].length);
    TEST_ONLY.lastIndex = from;
  }
  return result + code.slice(from);
}

/** Behind the semicolon or the braces that end an item. */
function endOfItem(code: string, start: number): number {
  let depth = 0;
  for (let at = start; at < code.length; at++) {
    const character = code[at] as string;
    if ('{(['.includes(character)) {
      depth++;
    } else if ('})]'.includes(character)) {
      depth--;
      if (depth === 0 && character === '}') {
        return at + 1;
      }
    } else if ((character === ';' || character === ',') && depth === 0) {
      return at + 1;
    }
  }
  return code.length;
}

/** Groups of files that use each other in a circle, each sorted. */
export function circlesOf(uses: Uses): string[][] {
  const found: string[][] = [];
  const numbers = new Map<string, { number: number; low: number }>();
  const stack: string[] = [];
  const visit = (file: string): { number: number; low: number } => {
    const own = { number: numbers.size, low: numbers.size };
    numbers.set(file, own);
    stack.push(file);
    for (const other of uses.get(file) ?? []) {
      const known = numbers.get(other);
      if (known === undefined) {
        own.low = Math.min(own.low, visit(other).low);
      } else if (stack.includes(other)) {
        own.low = Math.min(own.low, known.number);
      }
    }
    if (own.low === own.number) {
      const group = stack.splice(stack.indexOf(file));
      if (group.length > 1) {
        found.push(group.sort());
      }
    }
    return own;
  };
  for (const file of uses.keys()) {
    if (!numbers.has(file)) {
      visit(file);
    }
  }
  return found.sort();
}
