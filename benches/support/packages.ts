/**
 * What is measured: the built package, never `lib/` as the loader of these files compiles it, and the installed
 * Baileys.
 */
import { createRequire } from 'node:module';

const require = createRequire(__filename);

type Samples = typeof import('../../lib/conformance/samples.js');

export const vault: typeof import('../../lib/index.js') = require('../../dist/index.js');
export const { makeSamples }: Samples = require('../../dist/conformance/samples.js');

export type Baileys = typeof import('baileys', { with: { 'resolution-mode': 'import' }});
export type { KeyStore, Patch } from '../../lib/conformance/baileys.js';

export const loadBaileys = (): Promise<Baileys> => import('baileys');

export const { version: baileysVersion }: { version: string } = require('baileys/package.json');
