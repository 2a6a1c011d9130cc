/** Every release of Baileys that the peer range names, each installed alone in a project of its own. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { PROGRAMS, Project, ROOT, VERSIONS } from './project.js';

const KEY = randomBytes(32).toString('base64');
const WHOLE = { message: true, wire: true, bytes: true };

interface Said {
  before: Record<string, unknown>;
  now: Record<string, unknown>;
  identity: string;
  details: string;
}

describe('with Baileys', () => {
  const projects: Project[] = [];
  let session: string;

  before(() => {
    const shared = new Project();
    projects.push(shared);
    session = join(shared.folder, 'auth');
  });
  after(() => {
    for (const project of projects) project.remove();
  });

  const projectOf = (installed: string): Project => {
    const project = new Project();
    projects.push(project);
    project.link('baileys', join(ROOT, 'node_modules', installed)).linkVault();
    copyFileSync(join(PROGRAMS, 'any-baileys.mjs'), join(project.folder, 'bot.mjs'));
    return project;
  };

  const start = async (project: Project, folder: string): Promise<Said> => {
    const { code, stdout, stderr } = await project.run(['bot.mjs', folder, KEY]);
    assert.equal(code, 0, stderr);
    assert.equal(stderr, '');
    return JSON.parse(stdout) as Said;
  };

  for (const [installed, version] of Object.entries(VERSIONS)) {
    it(`${version} a session is opened, saved and opened again, its app state keys with it`, async () => {
      const manifest = join(ROOT, 'node_modules', installed, 'package.json');
      assert.equal((JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version, version);
      const project = projectOf(installed);
      const first = await start(project, 'auth');
      assert.deepEqual(first.before, {});
      const second = await start(project, 'auth');
      for (const { now, details } of [first, second]) {
        assert.deepEqual(now, { arrived: WHOLE, older: WHOLE });
        assert.equal(details, KEY);
      }
      assert.deepEqual(second.before, { arrived: WHOLE, older: WHOLE });
      assert.equal(second.identity, first.identity);
    });
  }

  it('of another release a session goes on, up and down again', async () => {
    const order = ['baileys-6', 'baileys-rc4', 'baileys-rc9', 'baileys', 'baileys-rc4', 'baileys-6'];
    const identities = new Set<string>();
    for (const [at, installed] of order.entries()) {
      const said = await start(projectOf(installed), session);
      identities.add(said.identity);
      assert.deepEqual(said.before, at === 0 ? {} : { arrived: WHOLE, older: WHOLE }, installed);
    }
    assert.equal(identities.size, 1);
  });
});
