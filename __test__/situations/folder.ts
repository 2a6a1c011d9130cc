/** What the tests of the folder share: files as Baileys' own function leaves them, and a bot started on them. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeFolder, runNode } from './support.js';

const PROGRAM = join(__dirname, 'programs', 'folder.mjs');

export const ACCOUNT = { id: '15550001111:7@s.whatsapp.net', lid: '123456789:7@lid', name: 'Bot' };
export const OTHER = { id: '15550002222:3@s.whatsapp.net', name: 'Other' };

/** Keys of a session, and the step that reads some of them. */
export const KEYS = {
  session: { '1.0': { a: 1 }, '2.0': { b: 2 } },
  'app-state-sync-version': { regular: { version: 4 } },
};
export const GET: [name: string, argument: unknown] = ['get', ['session', ['1.0', '2.0']]];

/** What pairing by QR code adds to creds. */
export const paired = (me: object) => ({ me, account: { details: 'AAAA' }, platform: 'android' });

/** Files that Baileys' own function has written; returns the secret of the creds. */
export async function writeFiles(
  folder: string,
  change: object = {},
  keys: object = {},
  release = 'baileys',
): Promise<string> {
  const { useMultiFileAuthState } = (await import(release)) as typeof import('baileys', { with: {
    'resolution-mode': 'import',
  }});
  mkdirSync(folder, { recursive: true });
  const { state, saveCreds } = await useMultiFileAuthState(folder);
  Object.assign(state.creds, change);
  await saveCreds();
  await state.keys.set(keys as never);
  return state.creds.advSecretKey;
}

export interface Task {
  options?: object;
  kill?: { call: 'mkdir' | 'rename'; times: number };
  steps?: [name: string, argument?: unknown][];
}

export interface Outcome {
  logs: { level: string; message: string; [field: string]: unknown }[];
  results: unknown[];
  secret?: string;
  me?: { id: string };
  error?: { code: string; name: string; message: string; stored?: string; foreign?: string };
}

/** Runs the bot on `folder` to its end. */
export async function bot(t: TestContext, folder: string, task: Task = {}): Promise<Outcome> {
  const { code, stdout, stderr } = await runNode(t, [PROGRAM, JSON.stringify({ folder, ...task })]);
  assert.equal(code, 0, stderr);
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Outcome;
}

/** Runs the bot, which is to be killed. */
export async function killedBot(t: TestContext, folder: string, task: Task): Promise<void> {
  const { signal, stdout, stderr } = await runNode(t, [PROGRAM, JSON.stringify({ folder, ...task })]);
  assert.equal(signal, 'SIGKILL', `${stdout}${stderr}`);
}

export async function makeAuth(t: TestContext): Promise<string> {
  return join(await makeFolder(t), 'auth');
}

/** Names of the folder but those of the database and its lock. */
export const namesIn = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => !/^vault\.(db|lock|holder)/.test(name))
    .sort();

/** The folder into which files were moved; there must be exactly `count`, the newest is returned. */
export function movedInto(folder: string, what: 'imported' | 'ignored', count = 1): string {
  const found = namesIn(folder).filter((name) => name.startsWith(`${what}-`));
  assert.equal(found.length, count, `${found}`);
  return join(folder, found.at(-1) as string);
}

/** `creds.json` as a program reads it, undefined if there is none. */
export function marker(folder: string): Record<string, unknown> | undefined {
  const path = join(folder, 'creds.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

export function isOurs(folder: string): boolean {
  return typeof marker(folder)?.baileysVault === 'string';
}

export const write = (folder: string, name: string, text: string): void => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), text);
};
