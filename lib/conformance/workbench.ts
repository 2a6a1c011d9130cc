import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuthenticationCreds } from '../baileys/types.js';
import type { Baileys, KeyStore } from './baileys.js';
import type { AuthStateFactory, ConformanceOptions, OpenedAuthState } from './types.js';

/** A session under test, open. */
export interface Opened {
  readonly creds: AuthenticationCreds;
  readonly keys: KeyStore;
  saveCreds(): Promise<unknown>;
  close(): Promise<void>;
}

/** What one case works with: locations of its own, and whatever it opens is closed after it. */
export class Workbench {
  private readonly open = new Set<Opened>();
  private readonly locations: { path: string; remove: () => Promise<unknown> | unknown }[] = [];

  constructor(
    readonly baileys: Baileys,
    private readonly factory: AuthStateFactory,
    readonly options: ConformanceOptions,
  ) {}

  /** A location where nothing was stored yet. */
  async newLocation(): Promise<string> {
    const { newLocation, removeLocation } = this.options;
    if (newLocation !== undefined) {
      const path = await newLocation();
      this.locations.push({ path, remove: () => removeLocation?.(path) });
      return path;
    }
    const parent = await mkdtemp(join(tmpdir(), 'auth-store-'));
    const path = join(parent, 'session');
    this.locations.push({
      path,
      remove: async () => {
        await removeLocation?.(path);
        await rm(parent, { recursive: true, force: true });
      },
    });
    return path;
  }

  /** The session of a location of this case, the same one each time unless `location` is given. */
  async start(location?: string): Promise<Opened> {
    const opened = wrap(await this.factory(location ?? (await this.location())));
    const { close } = opened;
    opened.close = async () => {
      if (this.open.delete(opened)) {
        await close();
      }
    };
    this.open.add(opened);
    return opened;
  }

  /** The case's own location. */
  async location(): Promise<string> {
    return this.locations[0]?.path ?? (await this.newLocation());
  }

  /** Closes the session and opens it as a restarted program would. */
  async restart(opened: Opened, location?: string): Promise<Opened> {
    await opened.close();
    await this.options.restart?.(location ?? (await this.location()));
    return await this.start(location);
  }

  /** Closes everything and removes it. */
  async dispose(): Promise<void> {
    try {
      await Promise.all([...this.open].map((opened) => opened.close()));
    } finally {
      await Promise.all(this.locations.map(({ remove }) => remove()));
    }
  }
}

export function wrap(opened: OpenedAuthState): Opened {
  const { state, store } = opened;
  return {
    creds: state.creds,
    keys: state.keys as unknown as KeyStore,
    saveCreds: async () => await opened.saveCreds(),
    close: async () => {
      await (opened.close === undefined ? store?.close() : opened.close());
    },
  };
}
