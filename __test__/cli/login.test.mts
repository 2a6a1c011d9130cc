/**
 * A bot of real Baileys that is moved by the command line from one store to the next and back to Baileys' own files. It is
 * paired once, logs in everywhere, and loses no message.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../situations/support.js';
import { describeWith, sharedMongo, startRedis } from '../support/services.js';
import { runExchange } from '../whatsapp/harness.mjs';
import type { Home } from './moving-auth.mjs';

// By `require`: imported from an ES module, a CommonJS file does not know where it is.
const { json, KEY }: typeof import('./support.js', { with: { 'resolution-mode': 'require' }}) = createRequire(
  import.meta.url,
)('./support.ts');

describeWith(['redis', 'mongo'], 'a bot that moves', () => {
  it('is paired once, and goes on where it was', async (t) => {
    const work = await makeFolder(t);
    const redis = await startRedis({ persist: true });
    t.after(() => redis.stop());
    const mongoUrl = await sharedMongo();
    const database = `moving-${process.pid}`;
    const file = join(work, 'home.json');
    const live = (home: Home): void => writeFileSync(file, JSON.stringify(home));
    const options = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
    const [files, folder, back] = ['files', 'folder', 'back'].map((name) => join(work, name)) as [
      string,
      string,
      string,
    ];
    const hybrid = `hybrid:${redis.url}+${mongoUrl}${mongoUrl.includes('?') ? '&' : '/?'}databaseName=${database}`;
    const moves: Record<number, () => Promise<void>> = {
      2: async () => {
        await json(t, ['import', files, '--store', folder], options);
        live({ kind: 'folder', folder, masterKey: KEY });
      },
      4: async () => {
        await json(t, ['copy', '--from', folder, '--to', redis.url, 'default', '--as', 'bot-1'], options);
        live({ kind: 'redis', redisUrl: redis.url, sessionId: 'bot-1', masterKey: KEY });
      },
      6: async () => {
        await json(t, ['copy', '--from', redis.url, '--to', hybrid, 'bot-1', '--as', 'bot-2'], options);
        live({ kind: 'hybrid', redisUrl: redis.url, mongoUrl, database, sessionId: 'bot-2', masterKey: KEY });
      },
      8: async () => {
        await json(t, ['export', 'bot-2', '--store', hybrid, '--to', `multi-file:${back}`], options);
        live({ kind: 'files', folder: back });
      },
    };
    live({ kind: 'files', folder: files });
    const report = await runExchange({
      authModule: fileURLToPath(new URL('./moving-auth.mts', import.meta.url)),
      authOptions: { file },
      messages: 10,
      between: async ({ message, stop, sendToA }) => {
        const move = moves[message];
        if (move !== undefined) {
          await stop();
          await sendToA(`while you moved, before ${message}`);
          await move();
        }
      },
    });
    assert.equal(report.qrs, 1, 'paired once');
    assert.equal(report.opens, 5);
    assert.deepEqual(report.missing, []);
    assert.deepEqual(report.undecryptable, []);
    assert.equal(report.stats.rejectedLogins, 0);
    assert.equal(report.stats.preKeyConflicts, 0);
    assert.deepEqual(report.delivered, { fromA: 5, fromB: 9 });
    const { findings } = await json<{ findings: { code: string }[] }>(t, [
      'doctor',
      '--store',
      `multi-file:${back}`,
      '--fix',
    ]);
    assert.deepEqual(
      findings.filter(({ code }) => code !== 'FILES_READABLE'),
      [],
      'a bot that was moved four times is healthy',
    );
  });
});
