/** Every kind of store that is a source only, and how a session gets into it. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeFolder } from '../../situations/support.js';
import { type Service, startRedis } from '../../support/services.js';
import type { MadeSession } from '../support.js';
import { writeFazer, writeHash, writeKeys, writeOldHash, writeSqlite } from './writers.js';

export interface SourcePlace {
  /** What `--from` takes. */
  address: string;
  write(sessionId: string, session: MadeSession): Promise<unknown>;
}

export interface SourceKind {
  name: string;
  needs: readonly Service[];
  make(t: TestContext): Promise<SourcePlace>;
}

const onRedis = (
  name: string,
  library: string,
  write: (url: string, sessionId: string, session: MadeSession) => Promise<unknown>,
): SourceKind => ({
  name,
  needs: ['redis'],
  async make(t) {
    const server = await startRedis();
    t.after(() => server.stop());
    return {
      address: `${library}:${server.url}`,
      write: (sessionId, session) => write(server.url, sessionId, session),
    };
  },
});

export const SOURCES: readonly SourceKind[] = [
  {
    name: 'sqlite',
    needs: [],
    async make(t) {
      const folder = join(await makeFolder(t), 'sessions');
      mkdirSync(folder);
      return {
        address: `sqlite:${folder}`,
        write: (sessionId, session) => writeSqlite(join(folder, `${sessionId}.db`), session),
      };
    },
  },
  onRedis('baileys-redis-auth, a hash', 'baileys-redis-auth', writeHash),
  onRedis('baileys-redis-auth before 1.1, a hash', 'baileys-redis-auth', writeOldHash),
  onRedis('baileys-redis-auth, keys', 'baileys-redis-auth', writeKeys),
  onRedis('baileys-redis-auth before 1.1, keys', 'baileys-redis-auth', (url, sessionId, session) =>
    writeKeys(url, sessionId, session, true),
  ),
  onRedis('fazer', 'fazer', writeFazer),
];
