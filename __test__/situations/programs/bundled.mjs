/** A program that bundlers build: opens a session, saves it, and opens it again. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BufferJSON } from 'baileys';
import { useMultiFileAuthState } from 'baileys-vault';

export async function roundTrip() {
  const parent = mkdtempSync(join(tmpdir(), 'bundled-'));
  const folder = join(parent, 'auth');
  try {
    const first = await useMultiFileAuthState(folder);
    const identity = JSON.stringify(first.state.creds, BufferJSON.replacer);
    await first.saveCreds();
    const keyData = Buffer.from([1, 2, 3]);
    await first.state.keys.set({ 'app-state-sync-key': { AAAA: { keyData } } });
    await first.store.close();

    const second = await useMultiFileAuthState(folder);
    const { AAAA } = await second.state.keys.get('app-state-sync-key', ['AAAA']);
    const same = JSON.stringify(second.state.creds, BufferJSON.replacer) === identity;
    await second.store.close();
    if (!same || !keyData.equals(AAAA.keyData)) throw new Error('it is not what was stored');
    return 'a session was opened, saved and opened again';
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}

// Beside a server, the server calls it.
if (process.env.NEXT_RUNTIME === undefined && !process.env.NEXT_PHASE) {
  roundTrip().then(console.log, (error) => {
    console.error(error.code, error);
    process.exitCode = 1;
  });
}
