import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Program } from '../crash/support.js';

/** What a call came to. */
export interface Outcome {
  value?: unknown;
  code?: string;
  field?: string;
  message?: string;
}

/** A process running `programs/keeper.mjs`. */
export class Keeper extends Program {
  constructor(t: TestContext, env: NodeJS.ProcessEnv = {}) {
    super(t, join(__dirname, 'programs', 'keeper.mjs'), [], { ...process.env, ...env });
  }

  /** A keeper of the session in `folder`, with what opening came to in `opened`. */
  static async of(
    t: TestContext,
    folder: string,
    options: Record<string, unknown> = {},
    env: NodeJS.ProcessEnv = {},
  ): Promise<Keeper & { opened: Outcome }> {
    const keeper = new Keeper(t, env);
    return Object.assign(keeper, { opened: await keeper.call('open', { folder, options }) });
  }

  async call(call: string, args: Record<string, unknown> = {}): Promise<Outcome> {
    this.tell(JSON.stringify({ call, ...args }));
    return JSON.parse(await this.next()) as Outcome;
  }

  /** Stores a record. */
  set(id: string, value: unknown): Promise<Outcome> {
    return this.call('set', { patch: { 'sender-key': { [id]: value } } });
  }

  /** A record's value. */
  async get(id: string): Promise<unknown> {
    const { value, ...failure } = await this.call('get', { type: 'sender-key', ids: [id] });
    return value === undefined ? failure : (value as Record<string, unknown>)[id];
  }
}
