import type {
  AuthStateResult,
  UseHybridAuthStateOptions,
  UseMultiFileAuthStateOptions,
} from '../../lib/index.js';

export const vault: typeof import('../../lib/index.js', { with: { 'resolution-mode': 'require' }});
export const baileys: object;
export const MASTER_KEY: string;
export function folder(location: string, options?: UseMultiFileAuthStateOptions): Promise<AuthStateResult>;
export function folderSealed(
  location: string,
  options?: UseMultiFileAuthStateOptions,
): Promise<AuthStateResult>;
export function embedded(
  location: string,
  options?: Partial<UseHybridAuthStateOptions>,
): Promise<AuthStateResult>;
