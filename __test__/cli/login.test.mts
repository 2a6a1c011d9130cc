/**
 * Bots of real Baileys that are moved by the command line from one store to the next and back to Baileys' own files. Each is
 * paired once, logs in everywhere, and loses no message.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../situations/support.js';
import { describeWith, sharedMongo, startMongo, startRedis } from '../support/services.js';
import { runExchange } from '../whatsapp/harness.mjs';
import { fetchLuoarch } from './foreign/luoarch.mjs';
import type { Home } from './moving-auth.mjs';

// By `require`: imported from an ES module, a CommonJS file does not know where it is.
const { json, KEY, OLD_KEY }: typeof import('./support.js', { with: { 'resolution-mode': 'require' }}) =
  createRequire(import.meta.url)('./support.ts');

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

/** Where a bot is paired, and how the command line names that. */
interface Old {
  home: Home;
  source: string;
  /** The key of the source. */
  key?: string;
}

interface OldKind {
  name: string;
  needs: Parameters<typeof describeWith>[0];
  make(t: TestContext, packages: string): Promise<Old>;
}

const redisUrl = async (t: TestContext): Promise<string> => {
  const server = await startRedis();
  t.after(() => server.stop());
  return server.url;
};

const SEALED = { encryption: 'secretbox', compression: 'snappy' } as const;

const OLD_KINDS: readonly OldKind[] = [
  {
    name: 'keys of Redis, one for each record',
    needs: ['redis'],
    async make(t) {
      const url = await redisUrl(t);
      return {
        home: { kind: 'rows', redisUrl: url, sessionId: 'old' },
        source: `baileys-redis-auth:${url}`,
      };
    },
  },
  {
    name: 'baileys-store-core in Redis',
    needs: ['redis'],
    async make(t, packages) {
      const url = await redisUrl(t);
      const options = { place: { redisUrl: url }, security: SEALED, masterKey: OLD_KEY };
      return {
        home: { kind: 'luoarch', folder: packages, sessionId: 'old', ...options },
        source: `luoarch-${url}`,
        key: OLD_KEY,
      };
    },
  },
  {
    name: 'baileys-store-core in MongoDB',
    needs: ['ownMongo'],
    async make(t, packages) {
      const server = await startMongo();
      t.after(() => server.stop());
      const place = { mongoUrl: server.url, databaseName: 'whatsapp', collectionName: 'sessions' };
      return {
        home: {
          kind: 'luoarch',
          folder: packages,
          sessionId: 'old',
          place,
          security: SEALED,
          masterKey: OLD_KEY,
        },
        source: `luoarch-${server.url}/?databaseName=whatsapp`,
        key: OLD_KEY,
      };
    },
  },
];

for (const { name, needs, make } of OLD_KINDS) {
  describeWith(needs, `a bot that was paired on ${name}`, () => {
    it('is imported, logs in without a QR code, and goes back to Baileys’ own files', async (t) => {
      const work = await makeFolder(t);
      const packages = join(work, 'packages');
      if (!fetchLuoarch(packages)) {
        assert.notEqual(process.env.CI, 'true', 'no package registry');
        t.skip('@luoarch/baileys-store-core cannot be fetched: no package registry');
        return;
      }
      const { home, source, key } = await make(t, packages);
      const file = join(work, 'home.json');
      const live = (home: Home): void => writeFileSync(file, JSON.stringify(home));
      const [vault, back] = [join(work, 'vault'), join(work, 'back')];
      const env = {
        BAILEYS_VAULT_MASTER_KEY: KEY,
        ...(key !== undefined && { BAILEYS_VAULT_FROM_MASTER_KEY: key }),
      };
      const moves: Record<number, () => Promise<void>> = {
        3: async () => {
          await json(t, ['import', source, '--store', vault, '--as', 'default'], { env });
          live({ kind: 'folder', folder: vault, masterKey: KEY });
        },
        6: async () => {
          await json(t, ['export', 'default', '--store', vault, '--to', `multi-file:${back}`], { env });
          live({ kind: 'files', folder: back });
        },
      };
      live(home);
      const report = await runExchange({
        authModule: fileURLToPath(new URL('./moving-auth.mts', import.meta.url)),
        authOptions: { file },
        messages: 8,
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
      assert.equal(report.opens, 3);
      assert.deepEqual([report.missing, report.undecryptable], [[], []]);
      assert.equal(report.stats.rejectedLogins, 0);
    });
  });
}
