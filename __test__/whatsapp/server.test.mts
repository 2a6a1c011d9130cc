import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BotProcess } from '../../examples/support/process.mjs';
import type { WhatsAppServer } from './api.mjs';
import type { TamperedOptions } from './auth/tampered.mjs';
import { remoteControl } from './control.mjs';
import type { ChildSetup } from './harness.mjs';
import { startWhatsAppServer } from './server.mjs';

const TIMEOUT_MS = 60_000;
const CHILD = fileURLToPath(new URL('./bot-child.mts', import.meta.url));

let server: WhatsAppServer;
let folder: string;
before(async () => {
  server = await startWhatsAppServer();
  folder = await mkdtemp(join(tmpdir(), 'whatsapp-'));
});
after(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

/** A bot in a child process; it ends with the test. */
function start(
  t: TestContext,
  auth: 'memory' | 'atomic-files' | 'tampered',
  authOptions: unknown = {},
): BotProcess {
  const authModule = new URL(`./auth/${auth}.mts`, import.meta.url).href;
  const setup: ChildSetup = { url: server.url, authModule, authOptions, alreadySent: [] };
  const bot = new BotProcess(t.name, CHILD, { BOT_SETUP: JSON.stringify(setup) });
  t.after(() => bot.close());
  return bot;
}

async function pair(bot: BotProcess): Promise<string> {
  const { qr } = await bot.waitFor('qr', TIMEOUT_MS);
  const { jid } = await remoteControl(server.controlUrl).scan(qr);
  await bot.waitFor('synced', TIMEOUT_MS);
  return jid;
}

test('a paired device logs in; with another Noise key it is told it is logged out', async (t) => {
  const options = { folder: join(folder, 'login') };
  const first = start(t, 'atomic-files', options);
  const jid = await pair(first);
  await first.close();

  const again = start(t, 'atomic-files', options);
  assert.equal((await again.waitFor('open', TIMEOUT_MS)).jid, jid);
  await again.waitFor('caught-up', TIMEOUT_MS);
  assert.deepEqual(again.seen('qr'), []);
  await again.close();

  const { rejectedLogins } = await server.stats();
  const stranger = start(t, 'tampered', { ...options, key: 'noiseKey' } satisfies TamperedOptions);
  await stranger.waitFor('logged-out', TIMEOUT_MS);
  assert.equal((await server.stats()).rejectedLogins, rejectedLogins + 1);
});

test('a client whose signed pre-key is signed by somebody else gets no QR code', async (t) => {
  const { rejectedPairings } = await server.stats();
  const options: TamperedOptions = { folder: join(folder, 'unsigned'), key: 'signedPreKey' };
  const bot = start(t, 'tampered', options);
  const first = await bot.waitFor(['qr', 'close'], TIMEOUT_MS);
  assert.equal(first.type, 'close');
  assert.ok((await server.stats()).rejectedPairings > rejectedPairings);
});

test('the phone refuses a QR code that was altered, and one that is no longer shown', async (t) => {
  const bot = start(t, 'memory');
  const { qr } = await bot.waitFor('qr', TIMEOUT_MS);
  const [ref, noiseKey, , ...rest] = qr.split(',');
  const otherIdentity = randomBytes(32).toString('base64');
  await assert.rejects(server.scan([ref, noiseKey, otherIdentity, ...rest].join(',')), /other keys/);
  const { jid } = await server.scan(qr);
  assert.equal((await bot.waitFor('open', TIMEOUT_MS)).jid, jid);
  await assert.rejects(server.scan(qr), /no longer, valid/);
});

test('a second login of the same device replaces the first', async (t) => {
  const options = { folder: join(folder, 'replaced') };
  const first = start(t, 'atomic-files', options);
  await pair(first);
  start(t, 'atomic-files', options);
  await first.waitFor('close', TIMEOUT_MS, ({ statusCode }) => statusCode === 440);
});

test('group messages reach the members both ways', async (t) => {
  const bots = [start(t, 'memory'), start(t, 'memory'), start(t, 'memory')] as const;
  const [a, b, c] = bots;
  const jids = await Promise.all(bots.map(pair));
  const members = jids.slice(1).map((jid) => jid.replace(/:\d+@/, '@'));
  a.command({ command: 'create-group', subject: 'friends', members });
  const group = (await a.waitFor('group', TIMEOUT_MS)).jid;
  for (const [sender, id] of [
    [a, 'G1'],
    [b, 'G2'],
    [c, 'G3'],
    [a, 'G4'],
  ] as const) {
    await sender.send(group, `to all: ${id}`, id, TIMEOUT_MS);
    for (const bot of bots.filter((other) => other !== sender)) {
      const got = await bot.waitFor('message', TIMEOUT_MS, (message) => message.id === id);
      assert.deepEqual([got.chat, got.text], [group, `to all: ${id}`]);
    }
  }
  assert.deepEqual(
    bots.flatMap((bot) => bot.seen('undecryptable')),
    [],
  );
});

test('what one companion sends reaches the other devices of its account', async (t) => {
  const [a, b] = [start(t, 'memory'), start(t, 'memory')];
  const [jidA, jidB] = [await pair(a), await pair(b)];
  const user = jidA.slice(0, jidA.indexOf(':'));
  const other = start(t, 'memory');
  const { qr } = await other.waitFor('qr', TIMEOUT_MS);
  assert.equal((await server.scan(qr, { user })).jid, `${user}:2@s.whatsapp.net`);
  await other.waitFor('synced', TIMEOUT_MS);

  await a.send(jidB.replace(/:\d+@/, '@'), 'to B', 'C1', TIMEOUT_MS);
  const copy = await other.waitFor('copy', TIMEOUT_MS, ({ id }) => id === 'C1');
  assert.deepEqual([copy.chat, copy.text], [jidB.replace(/:\d+@/, '@'), 'to B']);
  await b.waitFor('message', TIMEOUT_MS, ({ id }) => id === 'C1');
  await b.send(`${user}@s.whatsapp.net`, 'to A', 'C2', TIMEOUT_MS);
  for (const bot of [a, other]) await bot.waitFor('message', TIMEOUT_MS, ({ id }) => id === 'C2');
});

test('app state patches build on each other, across a restart', async (t) => {
  const options = { folder: join(folder, 'app-state') };
  const chat = '15550009999@s.whatsapp.net';
  const first = start(t, 'atomic-files', options);
  await pair(first);
  first.command({ command: 'pin', chat, pin: true });
  await first.waitFor('pinned', TIMEOUT_MS);
  await first.close();
  const second = start(t, 'atomic-files', options);
  await second.waitFor('caught-up', TIMEOUT_MS);
  second.command({ command: 'pin', chat, pin: false });
  await second.waitFor('pinned', TIMEOUT_MS);
});
