/**
 * The examples of docs/guides/cli.md are run, in their order, and print what the guide shows. `UPDATE_GUIDE=1` writes what
 * they print into the guide.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { COMMANDS } from '../../lib/cli/commands/index.js';
import { makeFolder } from '../situations/support.js';
import { describeWith, startRedis } from '../support/services.js';
import { writeHash, writeSqlite } from './foreign/writers.js';
import { environment, KEY, MAIN, makeSession, OLD_KEY, ROOT, writeFolder } from './support.js';

const GUIDE = join(ROOT, 'docs/guides/cli.md');
const EXAMPLES = /^```text\n(\$ [\s\S]*?)^```$/gm;
const SHOWN_FOLDER = '/home/bot';
const SHOWN_STORE = 'redis://localhost:6379';

/** What differs from run to run, in both texts. */
const normal = (text: string): string =>
  text
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \([^)]* ago\)/g, '<time>')
    .replace(/\b[0-9a-f]{16}\b/g, '<digest>')
    .replace(/\d+(\.\d)? (B|KiB|MiB)\b/g, '<size>')
    .replace(/ +/g, ' ');

interface Example {
  command: string;
  output: string;
}

/** The command lines of a block, each with what follows it. */
const examplesOf = (block: string): Example[] =>
  block
    .split(/^\$ /m)
    .slice(1)
    .map((text) => {
      const end = /(?<!\\)\n/.exec(text)?.index ?? text.length;
      return { command: text.slice(0, end), output: text.slice(end + 1) };
    });

describeWith(['redis'], 'docs/guides/cli.md', () => {
  it('shows of each command what it prints', async (t) => {
    const folder = await makeFolder(t);
    await writeFolder(join(folder, 'auth_info_baileys'), await makeSession(8));
    chmodSync(join(folder, 'auth_info_baileys'), 0o755);
    await writeFolder(join(folder, 'sessions/sales'), await makeSession());
    await writeFolder(join(folder, 'sessions/support'), await makeSession());
    await writeSqlite(join(folder, 'auth.db'), await makeSession(8));
    writeFileSync(join(folder, 'old.keys'), `${KEY}\n`);
    writeFileSync(join(folder, 'new.key'), `${OLD_KEY}\n`);
    // One that persists: of any other each command warns.
    const redis = await startRedis({ persist: true });
    t.after(() => redis.stop());
    const store = redis.url;
    await writeHash(store, 'DB1', await makeSession());
    const env = environment({
      BAILEYS_VAULT_MASTER_KEY: KEY,
      BAILEYS_VAULT_STORE: store,
      OLD_STORE: `baileys-redis-auth:${store}`,
    });
    const run = (command: string): string => {
      const { stdout, stderr } = spawnSync(
        'bash',
        ['-c', `npx() { shift; '${process.execPath}' '${MAIN}' "$@" 2>&1; }\n${command}`],
        { cwd: folder, env, encoding: 'utf8' },
      );
      return (stdout + stderr).replaceAll(store, SHOWN_STORE).replaceAll(folder, SHOWN_FOLDER);
    };
    const used = new Set<string>();
    const guide = readFileSync(GUIDE, 'utf8');
    const printed = guide.replace(EXAMPLES, (_, block: string) => {
      const examples = examplesOf(block).map(({ command, output }) => {
        used.add(/baileys-vault ([\w-]+)/.exec(command)?.[1] ?? '');
        const now = run(command);
        const isSame = normal(now) === normal(output);
        if (process.env.UPDATE_GUIDE !== '1') {
          assert.equal(normal(now), normal(output), command);
        }
        return `$ ${command}\n${isSame ? output : now}`;
      });
      return `\`\`\`text\n${examples.join('')}\`\`\``;
    });
    if (process.env.UPDATE_GUIDE === '1') {
      writeFileSync(GUIDE, printed);
    }
    for (const { name } of COMMANDS) {
      assert.ok(used.has(name) || name === 'completion', `the guide has no example of ${name}`);
    }
  });
});
