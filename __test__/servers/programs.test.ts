/** Programs written for the package that this one replaces, run against real servers with only its name changed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { useHybridAuthState } from '../../lib/index.js';
import { describeWith, sharedMongo, sharedRedis } from '../support/services.js';

const ROOT = join(__dirname, '..', '..');
/** Inside the package, where its own name leads to the built package. */
const FOLDER = join(ROOT, 'target', `programs-${process.pid}`);
const MASTER_KEY = '0123456789abcdef'.repeat(4);
/** Baileys itself, but for the server it talks to: nothing listens there. */
const OFFLINE = `
import { makeWASocket as connect } from 'baileys';
import { pino } from 'pino';
export const makeWASocket = (config) => {
  const socket = connect({ ...config, logger: pino({ level: 'silent' }), waWebSocketUrl: 'ws://127.0.0.1:1' });
  setTimeout(() => socket.end(undefined), 100);
  return socket;
};
`;

describeWith(['redis', 'mongo'], 'a program for the package that this one replaces', () => {
  const database = `vault-programs-${process.pid}`;
  let redisUrl: string;
  let mongoUrl: string;

  before(async () => {
    [redisUrl, mongoUrl] = await Promise.all([sharedRedis(), sharedMongo()]);
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(join(FOLDER, 'offline.mts'), OFFLINE);
  });
  after(() => rmSync(FOLDER, { recursive: true, force: true }));

  /** Runs `calls`, functions that the program exports; resolves to what they returned. */
  function run(program: string, ...calls: string[]): unknown[] {
    const source = readFileSync(join(ROOT, '__test__', 'api', 'programs', `${program}.ts.txt`), 'utf8')
      .replace("'BAILEYS'", "'./offline.mts'")
      .replaceAll('redis://localhost:6379', redisUrl)
      .replaceAll('mongodb://localhost:27017', mongoUrl)
      .replaceAll("'whatsapp'", `'${database}'`);
    writeFileSync(join(FOLDER, `${program}.mts`), source);
    const body = `
      const program = await import('./${program}.mts');
      const results = [];
      for (const call of ${JSON.stringify(calls)}) results.push((await program[call]()) ?? null);
      console.log('\\nRESULTS ' + JSON.stringify(results));
      process.exit(0);`;
    writeFileSync(join(FOLDER, `run-${program}.mts`), body);
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', join(FOLDER, `run-${program}.mts`)],
      {
        cwd: FOLDER,
        encoding: 'utf8',
        env: { ...process.env, MASTER_KEY, MONGO_URL: mongoUrl },
        timeout: 120_000,
      },
    );
    assert.equal(status, 0, stderr);
    return JSON.parse(/^RESULTS (.*)$/m.exec(stdout)?.[1] ?? 'null') as unknown[];
  }

  it('runs on Redis', () => {
    assert.deepEqual(run('redis', 'start'), [null]);
  });

  it('runs on MongoDB', () => {
    assert.deepEqual(run('mongodb', 'start', 'admin', 'admin'), [null, 1, 2]);
  });

  it('runs on both', async () => {
    const { saveCreds, store } = await useHybridAuthState({
      sessionId: 'tenant:device',
      masterKey: MASTER_KEY,
      hybrid: {
        redisUrl,
        mongoUrl,
        mongoDatabase: database,
        mongoCollection: 'auth',
        enableWriteBehind: true,
        security: { enableCompression: true },
      },
    });
    await saveCreds();
    await store.close();
    assert.deepEqual(run('hybrid', 'start', 'byHand'), [null, null]);
  });
});
