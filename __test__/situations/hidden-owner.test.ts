/** An owner that lives and cannot be seen: dead is only who the kernel says is gone. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import { describeWith, sharedRedis, until } from '../support/services';
import { runNode } from './support';
import { refusalOf, type Said, startWriter, type WriterTask } from './writer';

/** As another user, who sees no processes but his own. */
const HIDDEN = [
  ...['--mount', '--propagation', 'private', 'sh', '-c'],
  'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"',
  'sh',
];

const canHide = (): boolean =>
  process.platform === 'linux' && spawnSync('unshare', [...HIDDEN, 'true']).status === 0;

/** What a program says that is run by `unshare`. */
async function runHidden(t: TestContext, task: WriterTask): Promise<readonly Said[]> {
  const program = join(__dirname, 'programs', 'writer.mjs');
  const start = `
    const { spawn } = require('node:child_process');
    const [command, ...args] = JSON.parse(process.argv[1]);
    spawn(command, args, { stdio: 'inherit' }).on('close', (code) => process.exit(code ?? 1));
  `;
  const command = ['unshare', ...HIDDEN, process.execPath, program, JSON.stringify(task)];
  const { code, stdout, stderr } = await runNode(t, ['-e', start, JSON.stringify(command)]);
  assert.equal(code, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Said);
}

const hide = canHide();

describeWith('redis', 'a live owner of another user, hidden by hidepid', () => {
  const skip = hide ? false : 'needs root, and unshare and setpriv (util-linux)';

  it('keeps its session', { skip }, async (t) => {
    const redisUrl = await sharedRedis();
    const options = { sessionId: `hidden-${process.pid}-${Date.now()}`, redis: { redisUrl } };
    const owner = startWriter(t, { hook: 'useRedisAuthState', options, writeForMs: 600_000 });
    const acknowledged = (): number => owner.said.filter(({ ack }) => ack).length;
    await until('the owner writes', async () => acknowledged() > 0);
    const said = await runHidden(t, {
      hook: 'useRedisAuthState',
      options: { ...options, openTimeout: 1_500 },
    });
    assert.equal(refusalOf(said).code, 'SESSION_BUSY');
    const before = acknowledged();
    await until('the owner writes on', async () => acknowledged() > before);
    assert.deepEqual(
      owner.said.filter(({ error }) => error),
      [],
    );
  });
});
