import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AuthStateFactory, ConformanceOptions, OpenedAuthState } from '../../lib/conformance/index.js';
import type { StoreRow } from './stores.js';

const {
  testAuthStore,
}: typeof import('../../lib/conformance/index.js') = require('../../dist/conformance/index.js');

/** Puts the store of a row to the suite. */
export function put(row: StoreRow, kills?: number): void {
  const module = row.module ?? join(__dirname, 'factories.mjs');
  const factory: AuthStateFactory = async (location): Promise<OpenedAuthState> => {
    const factories = (await import(pathToFileURL(module).href)) as Record<string, AuthStateFactory>;
    return await (factories[row.factory] as AuthStateFactory)(location);
  };
  const options: ConformanceOptions = {
    ...row.options,
    name: row.name,
    crash: { module, exportName: row.factory, execArgv: [], ...(kills !== undefined && { kills }) },
  };
  testAuthStore(factory, options);
}
