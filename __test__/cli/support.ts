/** The command line as a user runs it: `dist/cli/main.js` in a process of its own, on sessions made by real Baileys. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { importBaileys } from '../../lib/conformance/baileys.js';
import { makePairedCreds, makeSamples } from '../../lib/conformance/samples.js';
import { type Ended, runNode, startNode } from '../situations/support.js';

export const ROOT = join(__dirname, '..', '..');
export const MAIN = join(ROOT, 'dist/cli/main.js');
/** Not secrets: nothing but tests is sealed with them. */
export const KEY = 'c1a0c1a0'.repeat(8);
export const OLD_KEY = 'beefbeef'.repeat(8);

export interface CliOptions {
  env?: Record<string, string>;
  cwd?: string;
}

/** The variables of this process, without any that the command line reads. */
export function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  // Each of the latter decides about colour.
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('BAILEYS_VAULT_') && !['FORCE_COLOR', 'NO_COLOR', 'CI'].includes(name),
  );
  return { ...Object.fromEntries(inherited), ...extra };
}

/** Runs a command line to its end. */
export const cli = (t: TestContext, args: readonly string[], { env, cwd }: CliOptions = {}): Promise<Ended> =>
  runNode(t, [MAIN, ...args], { env: environment(env), ...(cwd !== undefined && { cwd }) });

/** Runs a command line that must succeed; what it prints with `--json`. */
export async function json<T = Record<string, unknown>>(
  t: TestContext,
  args: readonly string[],
  options: CliOptions = {},
): Promise<T> {
  const { code, stdout, stderr } = await cli(t, [...args, '--json'], options);
  assert.equal(code, 0, stderr + stdout);
  return JSON.parse(stdout) as T;
}

/** Runs a command line that must fail: with this exit code, and an error of this code. */
export async function refused(
  t: TestContext,
  exitCode: number,
  code: string,
  args: readonly string[],
  options: CliOptions = {},
): Promise<{ message: string; hint?: string; [detail: string]: unknown }> {
  const ended = await cli(t, [...args, '--json'], options);
  assert.equal(ended.code, exitCode, `${args.join(' ')}: ${ended.stdout}${ended.stderr}`);
  assert.equal(ended.stdout, '');
  const { error } = JSON.parse(ended.stderr.trim().split('\n').at(-1) as string);
  assert.equal(error.code, code, ended.stderr);
  return error;
}

/** A session as Baileys' own function has it in memory: the creds of a paired account, and records of every type. */
export interface MadeSession {
  creds: Record<string, unknown>;
  keys: Record<string, Record<string, unknown>>;
}

let baileys: ReturnType<typeof importBaileys> | undefined;

export const realBaileys = (): ReturnType<typeof importBaileys> => {
  baileys ??= importBaileys();
  return baileys;
};

/** A paired account that has talked; `preKeys` more pre-keys make it larger. */
export async function makeSession(preKeys = 0): Promise<MadeSession> {
  const module = await realBaileys();
  const creds = makePairedCreds(module) as unknown as Record<string, unknown>;
  const keys: MadeSession['keys'] = {};
  for (const { type, id, value } of await makeSamples(module)) {
    keys[type] ??= {};
    (keys[type] as Record<string, unknown>)[id] = value;
  }
  for (let id = 1000; id < 1000 + preKeys; id++) {
    (keys['pre-key'] as Record<string, unknown>)[id] = module.Curve.generateKeyPair();
  }
  return { creds, keys };
}

type MultiFile = (folder: string) => Promise<{
  state: {
    creds: Record<string, unknown>;
    keys: {
      get(type: string, ids: string[]): Promise<Record<string, unknown>>;
      set(data: MadeSession['keys']): Promise<void>;
    };
  };
  saveCreds(): Promise<void>;
}>;

/** Baileys' own function, which the command line must be able to read from and write for. */
export async function ownMultiFile(): Promise<MultiFile> {
  return ((await realBaileys()) as unknown as { useMultiFileAuthState: MultiFile }).useMultiFileAuthState;
}

/** Writes a session with Baileys' own `useMultiFileAuthState`. */
export async function writeFolder(folder: string, { creds, keys }: MadeSession): Promise<void> {
  const open = await ownMultiFile();
  const { state, saveCreds } = await open(folder);
  Object.assign(state.creds, creds);
  await saveCreds();
  await state.keys.set(keys);
}

/** Holds a session open until the test ends. */
export async function holdSession(
  t: TestContext,
  place: Record<string, unknown>,
): Promise<ReturnType<typeof startNode>> {
  const holder = startNode(t, [join(__dirname, 'holder.mjs'), JSON.stringify(place)]);
  await holder.says('open');
  return holder;
}
