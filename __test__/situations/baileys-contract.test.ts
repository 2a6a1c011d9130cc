/** Every release of Baileys that the peer range names: its types, and the suite with its own code. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Project, ROOT, VERSIONS } from './project.js';

const TYPED = `
import { makeWASocket, type AuthenticationCreds } from 'baileys';
import { useHybridAuthState, useMongoAuthState, useMultiFileAuthState, useRedisAuthState } from 'baileys-vault';

export async function start(): Promise<void> {
  for (const { state, saveCreds } of [
    await useMultiFileAuthState('auth'),
    await useRedisAuthState({ sessionId: 'a', redis: { redisUrl: 'redis://localhost' } }),
    await useMongoAuthState({ sessionId: 'a', mongodb: { mongoUrl: 'mongodb://localhost' } }),
    await useHybridAuthState({ sessionId: 'a' }),
  ]) {
    const socket = makeWASocket({ auth: state });
    socket.ev.on('creds.update', saveCreds);
    const creds: AuthenticationCreds = state.creds;
    // @ts-expect-error the creds are Baileys' own, not any
    creds.noSuchThing;
    const { a } = await state.keys.get('pre-key', ['a']);
    // @ts-expect-error a key pair has no such half
    a?.neither;
  }
}
`;

const SUITE = `
import { useMultiFileAuthState } from 'baileys-vault';
import { testAuthStore } from 'baileys-vault/conformance';
testAuthStore((folder) => useMultiFileAuthState(folder), { name: 'my store' });
`;

describe('with Baileys', () => {
  const projects: Project[] = [];
  after(() => {
    for (const project of projects) project.remove();
  });

  for (const [installed, version] of Object.entries(VERSIONS)) {
    it(`${version} the state of every hook type-checks as its \`auth\``, () => {
      const project = new Project();
      projects.push(project);
      project.link('baileys', join(ROOT, 'node_modules', installed)).copyVault();
      project.link('@types/node').link('undici-types');
      project.write('program.mts', TYPED);
      const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
      const options = [
        '--module',
        'nodenext',
        '--target',
        'es2022',
        '--strict',
        '--skipLibCheck',
        '--noEmit',
      ];
      const { stdout } = spawnSync(process.execPath, [tsc, ...options, '--types', 'node', 'program.mts'], {
        cwd: project.folder,
        encoding: 'utf8',
      });
      assert.equal(stdout, '');
    });
  }

  for (const [installed, version] of Object.entries(VERSIONS)) {
    it(`${version} the conformance suite passes`, async () => {
      const project = new Project();
      projects.push(project);
      project.link('baileys', join(ROOT, 'node_modules', installed)).linkVault();
      project.write('suite.test.mjs', SUITE);
      const { code, stdout } = await project.run(['--test', '--test-reporter=tap', 'suite.test.mjs']);
      assert.equal(code, 0, stdout);
      assert.ok(Number(/^# pass (\d+)/m.exec(stdout)?.[1]) > 40, stdout);
    });
  }
});
