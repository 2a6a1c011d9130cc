/** Servers that refuse what the program asks for: the error says what to change, and never what is secret. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import {
  describeWith,
  type Server,
  startRedis,
  startRedisCluster,
  startRedisSentinel,
} from '../support/services';
import { makeFolder } from './support';
import { refusalOf, runWriter, type Said } from './writer';

/** Well below `openTimeout`: what no waiting can mend is said at once. */
const AT_ONCE_MS = 8_000;

async function answer(t: TestContext, redisUrl: string, options: object = {}): Promise<Said> {
  const said = await runWriter(t, {
    hook: 'useRedisAuthState',
    options: { sessionId: 's', redis: { redisUrl }, openTimeout: 30_000, ...options },
  });
  const refusal = refusalOf(said);
  assert.doesNotMatch(JSON.stringify(said), /hunter2/);
  return refusal;
}

async function misconfigured(t: TestContext, redisUrl: string, says: RegExp): Promise<void> {
  const refusal = await answer(t, redisUrl);
  assert.equal(refusal.code, 'CONFIG_INVALID', refusal.message);
  assert.equal(refusal.retryable, false);
  assert.match(String(refusal.message), says);
  assert.match(String(refusal.message), /127\.0\.0\.1:\d+/);
  assert.ok(Number(refusal.ms) < AT_ONCE_MS, `it took ${refusal.ms} ms`);
}

describeWith('redis', 'a Redis that refuses', () => {
  const start = async (t: TestContext, config: Readonly<Record<string, string>>): Promise<Server> => {
    const server = await startRedis({ config });
    t.after(() => server.stop());
    return server;
  };

  it('because of the password', async (t) => {
    const { port } = await start(t, { requirepass: 'hunter2' });
    await Promise.all([
      misconfigured(t, `redis://127.0.0.1:${port}`, /asks for a password, and none was given/),
      misconfigured(t, `redis://127.0.0.1:${port}/1`, /asks for a password, and none was given/),
      misconfigured(t, `redis://hunter2@127.0.0.1:${port}`, /only a user name/),
      misconfigured(t, `redis://:wrong@127.0.0.1:${port}`, /user name or password/),
    ]);
  });

  it('because it has no such database, or runs no scripts', async (t) => {
    const file = join(await makeFolder(t), 'renamed.conf');
    await writeFile(file, 'rename-command EVALSHA ""\n');
    const [plain, scriptless] = await Promise.all([start(t, {}), start(t, { include: file })]);
    await Promise.all([
      misconfigured(t, `redis://127.0.0.1:${plain.port}/99`, /no database of that number/),
      misconfigured(t, `redis+cluster://127.0.0.1:${plain.port}`, /write redis:\/\//),
      misconfigured(t, `redis+sentinel://127.0.0.1:${plain.port}/mymaster`, /no Sentinel/),
      misconfigured(t, `redis://127.0.0.1:${scriptless.port}`, /scripts are disabled/),
    ]);
  });

  it('because it takes no more clients, which may pass', async (t) => {
    const { port } = await start(t, { maxclients: '1' });
    const held = connect(port, '127.0.0.1');
    t.after(() => held.destroy());
    await new Promise((resolve) => held.once('connect', resolve));
    const refusal = await answer(t, `redis://127.0.0.1:${port}`, { openTimeout: 1_000 });
    assert.equal(refusal.code, 'STORAGE_UNAVAILABLE');
    assert.equal(refusal.retryable, true);
    assert.match(String(refusal.message), /127\.0\.0\.1:\d+.*maxclients/);
  });
});

describeWith('redis', 'a URL of another kind than the server', () => {
  it('is named', async (t) => {
    const cluster = await startRedisCluster();
    t.after(() => cluster.stop());
    const sentinel = await startRedisSentinel();
    t.after(() => sentinel.stop());
    const [clusterNode] = cluster.nodes;
    const [sentinelNode] = sentinel.sentinels;
    await Promise.all([
      misconfigured(t, `redis://127.0.0.1:${clusterNode?.port}`, /redis\+cluster:\/\//),
      misconfigured(t, `redis://127.0.0.1:${sentinelNode?.port}`, /redis\+sentinel:\/\//),
    ]);
  });
});
