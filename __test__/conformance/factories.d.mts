import type { AuthStateFactory } from '../../lib/conformance/index.js';

export const MASTER_KEY: string;
export const folder: AuthStateFactory;
export const folderSealed: AuthStateFactory;
export const folderUncached: AuthStateFactory;
export const embedded: AuthStateFactory;
export const embeddedSealedFull: AuthStateFactory;
