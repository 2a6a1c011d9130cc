/** The credentials of `atomic-files`, altered after loading: `key` is replaced by a stranger's. */
import { Curve, signedKeyPair } from 'baileys';
import type { Auth } from '../../../examples/support/bot.mjs';
import openAtomicFiles from './atomic-files.mjs';

export interface TamperedOptions {
  folder: string;
  key: 'noiseKey' | 'signedPreKey';
}

export default async function openTampered({ folder, key }: TamperedOptions): Promise<Auth> {
  const auth = await openAtomicFiles({ folder });
  const stranger = Curve.generateKeyPair();
  Object.assign(auth.state.creds, { [key]: key === 'noiseKey' ? stranger : signedKeyPair(stranger, 1) });
  return auth;
}
