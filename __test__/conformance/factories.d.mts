import type { AuthStateFactory } from '../../lib/conformance/index.js';

export const MASTER_KEY: string;
export const folder: AuthStateFactory;
export const folderSealed: AuthStateFactory;
export const folderUncached: AuthStateFactory;
export const embedded: AuthStateFactory;
export const embeddedSealedFull: AuthStateFactory;
export const redisPlain: AuthStateFactory;
export const redisSealed: AuthStateFactory;
export const redisCluster: AuthStateFactory;
export const mongoPlain: AuthStateFactory;
export const mongoSealed: AuthStateFactory;
export const hybridSealed: AuthStateFactory;
export const hybridWriteBehind: AuthStateFactory;
export const hybridWriteBehindSealed: AuthStateFactory;
