/** The suite on the built package's stores, and on what they replace. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AuthStateFactory, ConformanceOptions, OpenedAuthState } from '../../lib/conformance/index.js';
import { REFERENCE, STORES, type StoreRow } from './stores.js';

const {
  testAuthStore,
}: typeof import('../../lib/conformance/index.js') = require('../../dist/conformance/index.js');

/** Killing goes on until a fault shows, and the reference's are a matter of luck: 4 of 10 kills find one. */
const REFERENCE_KILLS = 60;

function put(row: StoreRow, kills?: number): void {
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

for (const row of STORES) {
  put(row);
}
put(REFERENCE, REFERENCE_KILLS);
