import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { WhatsAppServer } from './api.mjs';
import { spawnWhatsAppServer } from './control.mjs';
import { type ExchangeReport, runExchange } from './harness.mjs';

const authModule = (name: string) => fileURLToPath(new URL(`./auth/${name}.mts`, import.meta.url));

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'exchange-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

async function separateServer(t: TestContext): Promise<WhatsAppServer> {
  const server = await spawnWhatsAppServer();
  t.after(() => server.close());
  return server;
}

/** What must hold whatever happened to A on the way. */
function assertWhole(report: ExchangeReport): void {
  assert.equal(report.qrs, 1, 'A was paired once');
  assert.deepEqual(report.missing, []);
  assert.equal(report.stats.rejectedLogins, 0);
  assert.equal(report.stats.preKeyConflicts, 0);
  assert.deepEqual(report.stats.unhandled, [], 'the server answers everything Baileys asks');
}

test('a bot in memory pairs, reconnects without a QR code and exchanges messages', async () => {
  const report = await runExchange({
    authModule: authModule('memory'),
    messages: 10,
    between: async ({ message, reconnect }) => {
      if (message === 5) await reconnect();
    },
  });
  assertWhole(report);
  assert.equal(report.opens, 2);
  assert.deepEqual(report.delivered, { fromA: 5, fromB: 5 });
  assert.deepEqual(report.undecryptable, []);
  assert.deepEqual(report.resent, []);
});

test('a bot on files is closed and started again without a QR code', async (t) => {
  const report = await runExchange({
    authModule: authModule('multi-file'),
    authOptions: { folder: await temporaryFolder(t) },
    messages: 6,
    server: await separateServer(t),
    between: async ({ message, stop, sendToA }) => {
      if (message !== 3) return;
      await stop();
      await sendToA('while you were away');
    },
  });
  assertWhole(report);
  assert.equal(report.opens, 2);
  assert.deepEqual(report.delivered, { fromA: 3, fromB: 4 });
});

test('a bot is killed, logs in without a QR code and gets what it missed', async (t) => {
  const report = await runExchange({
    authModule: authModule('atomic-files'),
    authOptions: { folder: await temporaryFolder(t) },
    messages: 10,
    killAt: [3, 6],
    between: async ({ message, kill, sendToA }) => {
      if (message !== 8) return;
      await kill();
      for (const n of [1, 2, 3]) await sendToA(`while you were dead ${n}`);
    },
  });
  assertWhole(report);
  assert.equal(report.kills, 3);
  assert.equal(report.opens, 4);
  assert.deepEqual(report.delivered, { fromA: 5, fromB: 8 });
  assert.deepEqual(report.undecryptable, []);
  assert.deepEqual(report.resent, []);
});

test('killed at any moment of a message, a bot loses nothing a store could have kept', async (t) => {
  const killDelays = new Map([
    [2, 5],
    [3, 10],
    [4, 80],
    [5, 30],
  ]);
  const report = await runExchange({
    authModule: authModule('atomic-files'),
    authOptions: { folder: await temporaryFolder(t) },
    messages: 8,
    killAt: [...killDelays.keys()],
    killDelayMs: (i) => killDelays.get(i),
  });
  assertWhole(report);
  assert.equal(report.kills, killDelays.size);
  const { fromA, fromB } = report.delivered;
  assert.equal(fromA + fromB + report.crashWindow.length, 8);
});
