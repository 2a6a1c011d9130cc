/** The `creds.json` for programs that look for one: what it says and when, and what Baileys' own function makes of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { ACCOUNT, bot, isOurs, makeAuth, marker, paired, write } from './folder.js';
import { runProgram } from './support.js';

test('it is there from the first saveCreds on, says what programs ask, and goes with the session', async (t) => {
  const folder = await makeAuth(t);
  await bot(t, folder);
  assert.equal(marker(folder), undefined, 'nothing was stored yet');

  const first = await bot(t, folder, { steps: [['save']] });
  assert.deepEqual(marker(folder), { ...rest(folder), registered: false });
  assert.equal(statSync(join(folder, 'creds.json')).mode & 0o777, 0o600);

  const secrets = { pairingCode: 'ABCD1234', accountSettings: { unarchiveChats: false } };
  const me = { ...ACCOUNT, status: 'shh', imgUrl: 'https://example.com' };
  await bot(t, folder, { steps: [['save', { ...paired(me), ...secrets, registered: true }]] });
  assert.deepEqual(marker(folder), { ...rest(folder), me: ACCOUNT, registered: true, platform: 'android' });
  const text = readFileSync(join(folder, 'creds.json'), 'utf8');
  for (const secret of [first.secret as string, secrets.pairingCode, 'noiseKey', 'private', 'AAAA']) {
    assert.ok(!text.includes(secret), secret);
  }
  assert.match(String(marker(folder)?.baileysVault), /vault\.db.*baileys-vault.*export/s);

  const { results } = await bot(t, folder, { steps: [['delete']] });
  assert.deepEqual(results, [true]);
  assert.equal(marker(folder), undefined);
});

/** The fields that are not looked at one by one. */
function rest(folder: string): object {
  const { baileysVault, routingInfo } = marker(folder) ?? {};
  return { baileysVault, routingInfo };
}

test('what it says of exporting the session works', async (t) => {
  const folder = await makeAuth(t);
  const { secret } = await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  assert.match(String(marker(folder)?.baileysVault), /\(await store\.get\(\)\)\.data with BufferJSON/);
  const { useMultiFileAuthState } = await import('../../lib/index.js');
  const { store } = await useMultiFileAuthState(folder);
  t.after(() => store.close());
  const { BufferJSON, useMultiFileAuthState: own } = await import('baileys');
  const exported = await makeAuth(t);
  const data = (await store.get())?.data;
  write(exported, 'creds.json', JSON.stringify(data?.creds, BufferJSON.replacer));
  const { state } = await own(exported);
  assert.deepEqual([state.creds.advSecretKey, state.creds.me], [secret, ACCOUNT]);
  assert.deepEqual(state.creds.noiseKey, data?.creds.noiseKey);
});

test('it is written when what it says has changed, not at every saveCreds', async (t) => {
  const folder = await makeAuth(t);
  await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  const before = statSync(join(folder, 'creds.json'));
  await bot(t, folder, {
    steps: [
      ['save', { nextPreKeyId: 9 }],
      ['save', { accountSyncCounter: 3 }],
    ],
  });
  const after = statSync(join(folder, 'creds.json'));
  assert.deepEqual([after.ino, after.mtimeMs], [before.ino, before.mtimeMs]);
});

test('it comes back when it was removed or changed, and nothing else depends on it', async (t) => {
  const folder = await makeAuth(t);
  const { secret } = await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  const text = readFileSync(join(folder, 'creds.json'), 'utf8');
  for (const change of [
    () => rmSync(join(folder, 'creds.json')),
    () =>
      writeFileSync(
        join(folder, 'creds.json'),
        JSON.stringify({ ...marker(folder), registered: true, me: null }),
      ),
  ]) {
    change();
    const again = await bot(t, folder);
    assert.equal(again.secret, secret);
    assert.equal(readFileSync(join(folder, 'creds.json'), 'utf8'), text);
  }
});

test('a file of somebody else that has taken its place is not overwritten', async (t) => {
  const folder = await makeAuth(t);
  const { secret } = await bot(t, folder, { steps: [['save', paired(ACCOUNT)]] });
  const { useMultiFileAuthState } = await import('../../lib/index.js');
  const said: string[] = [];
  const log = (message: string) => said.push(message);
  const logger = { debug: log, info: log, warn: log, error: log };
  const { state, saveCreds, store } = await useMultiFileAuthState(folder, { logger: logger as never });
  t.after(() => store.close());
  assert.equal(state.creds.advSecretKey, secret);
  write(folder, 'creds.json', '{"pasted":"while the bot runs"}');
  state.creds.platform = 'ios';
  await saveCreds();
  await store.delete();
  assert.deepEqual(marker(folder), { pasted: 'while the bot runs' });
  assert.equal(said.length, 2, `${said}`);
});

for (const release of ['baileys-6', 'baileys-rc4', 'baileys-rc9', 'baileys']) {
  for (const isPaired of [true, false]) {
    const whose = isPaired ? 'a paired' : 'an unpaired';
    test(`${release}: its own function fails on the folder of ${whose} session, and changes nothing`, async (t) => {
      const folder = await makeAuth(t);
      const { secret } = await bot(t, folder, {
        steps: [['save', isPaired ? { ...paired(ACCOUNT), registered: true } : {}]],
      });
      const content = () =>
        ['creds.json', 'vault.db'].map((name) => readFileSync(join(folder, name), 'base64'));
      const before = content();
      const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
      t.after(() => {
        for (const client of server.clients) client.terminate();
        server.close();
      });
      let received = 0;
      server.on('connection', (client) => client.on('message', () => received++));
      await once(server, 'listening');
      const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const { code, stdout, stderr } = await runProgram(t, 'baileys-own.mjs', release, folder, url);
      assert.equal(code, 0, stderr);
      const { how, message } = JSON.parse(stdout);
      // Newer releases look at the creds before they connect, older ones before the first byte is sent.
      assert.equal(how, release === 'baileys' ? 'threw' : 'closed', stdout);
      assert.match(message, /Baileys Vault has this/);
      assert.equal(received, 0, 'nothing was sent');
      assert.deepEqual(content(), before);
      const again = await bot(t, folder);
      assert.equal(again.secret, secret);
      assert.deepEqual(again.logs, []);
    });
  }
}

test('a pairing code asked for with Baileys own function ends nowhere, and the marker is ours again afterwards', async (t) => {
  const folder = await makeAuth(t);
  const { secret } = await bot(t, folder, { steps: [['save']] });
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  await once(server, 'listening');
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { stdout } = await runProgram(t, 'baileys-own.mjs', 'baileys-rc9', folder, url, '15550009999');
  assert.equal(JSON.parse(stdout).how, 'closed', stdout);
  const again = await bot(t, folder);
  assert.equal(again.secret, secret);
  assert.equal(again.me, undefined);
  assert.ok(isOurs(folder) && existsSync(join(folder, 'vault.db')));
  assert.equal(marker(folder)?.me, undefined);
});
