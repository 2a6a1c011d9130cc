import type { SessionStore } from './store.js';

/** What is at an address where nothing is yet, for a dry run: a look must not make a folder. */
export class NoStore implements SessionStore {
  constructor(readonly shown: string) {}

  async list(): Promise<string[]> {
    return [];
  }

  async exists(): Promise<boolean> {
    return false;
  }

  async read(): Promise<undefined> {
    return undefined;
  }

  async readBack(): Promise<undefined> {
    return undefined;
  }

  async hold(): Promise<never> {
    throw new Error('nothing is held where nothing is');
  }

  async create(): Promise<never> {
    throw new Error('a dry run writes nothing');
  }

  async verify(): Promise<void> {}

  async close(): Promise<void> {}
}
