/**
 * `npm start`: a bot on this store pairs with a local WhatsApp server, talks to a peer, is killed with
 * SIGKILL in the middle, and comes back without a new QR code or a lost message.
 *
 * `npm start -- --whatsapp` runs the same bot against WhatsApp itself and prints the QR code to scan.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { useMultiFileAuthState } from 'baileys-vault';
import type { WhatsAppServer } from '../__test__/whatsapp/api.mjs';
import { startWhatsAppServer } from '../__test__/whatsapp/server.mjs';
import { BotProcess } from './support/process.mjs';

const BOT = fileURLToPath(new URL('./bot.mts', import.meta.url));
/** No step takes longer than this, or the demo fails. */
const STEP_MS = 30_000;
const ROUND_TRIPS = 10;
const WHILE_DEAD = 5;

const ms = (value: number): string => `${Math.round(value)} ms`;

const userOf = (jid: string): string => jid.replace(/:\d+@/, '@');

async function countRecords(folder: string): Promise<number> {
  const { store } = await useMultiFileAuthState(folder);
  try {
    const [sessionId = ''] = await store.list();
    const { keys } = (await store.get(sessionId))?.data ?? {
      keys: {} as Record<string, Record<string, unknown>>,
    };
    return Object.values(keys).reduce<number>((count, ofType) => count + Object.keys(ofType).length, 1);
  } finally {
    await store.close();
  }
}

function say(text: string): void {
  console.log(`• ${text}`);
}

class Demo {
  private readonly bots: BotProcess[] = [];
  private readonly roundTrips: number[] = [];

  constructor(
    private readonly server: WhatsAppServer,
    private readonly folder: string,
  ) {}

  private start(name: string): BotProcess {
    const bot = new BotProcess(name, BOT, {
      BOT_SESSION: join(this.folder, name),
      BOT_WHATSAPP_URL: this.server.url,
    });
    this.bots.push(bot);
    return bot;
  }

  /** Shows the QR code to the phone; resolves with the JID and how long it took until `open`. */
  private async pair(bot: BotProcess): Promise<{ jid: string; took: number }> {
    const shown = await bot.waitFor('qr', STEP_MS);
    const { jid } = await this.server.scan(shown.qr);
    const open = await bot.waitFor('open', STEP_MS);
    await bot.waitFor('synced', STEP_MS);
    return { jid, took: open.at - shown.at };
  }

  /** A message from `peer` to `bot`, and the echo back to `peer`, decrypted on both sides. */
  private async roundTrip(peer: BotProcess, bot: BotProcess, to: string, text: string): Promise<void> {
    const startedAt = performance.now();
    const echoed = peer.waitFor('message', STEP_MS, (message) => message.text === `echo: ${text}`);
    const [echo] = await Promise.all([echoed, peer.send(to, text, `DEMO-${text}`.toUpperCase(), STEP_MS)]);
    this.roundTrips.push(echo.at - startedAt);
    // The bot is done once it has stored what sending the echo changed.
    await bot.waitFor('sent', STEP_MS, (sent) => sent.id === echo.id);
  }

  async run(): Promise<boolean> {
    const first = this.start('A');
    const peer = this.start('B');
    const [a, b] = await Promise.all([this.pair(first), this.pair(peer)]);
    say(`A scanned its QR code once and is ${a.jid} (${ms(a.took)} from QR to open)`);
    say(`B, its peer, is ${b.jid}`);

    const toA = userOf(a.jid);
    for (let i = 0; i < ROUND_TRIPS; i += 1) await this.roundTrip(peer, first, toA, `first ${i}`);
    say(`${ROUND_TRIPS} messages from B to A and ${ROUND_TRIPS} from A to B, end-to-end encrypted`);

    await first.kill();
    say('A was killed with SIGKILL in the middle of the conversation: no handler ran');
    const missed = Array.from({ length: WHILE_DEAD }, (_, i) => `missed ${i}`);
    for (const text of missed) await peer.send(toA, text, text.toUpperCase().replace(' ', '-'), STEP_MS);
    say(`B sent ${WHILE_DEAD} messages to the dead A`);

    const second = this.start('A');
    const open = await second.waitFor('open', STEP_MS);
    for (const text of missed) await second.waitFor('message', STEP_MS, (message) => message.text === text);
    await second.waitFor('caught-up', STEP_MS);
    say(`A is back without a QR code and has decrypted all ${WHILE_DEAD}`);

    for (let i = 0; i < ROUND_TRIPS; i += 1) await this.roundTrip(peer, second, toA, `second ${i}`);
    say(`${ROUND_TRIPS} more messages each way`);

    await Promise.all([second.close(), peer.close()]);
    return this.report(a.took, open.at - second.startedAt);
  }

  private async report(pairingMs: number, restartMs: number): Promise<boolean> {
    const stats = await this.server.stats();
    const qrs = this.bots.filter(({ name }) => name === 'A').flatMap((bot) => bot.seen('qr')).length;
    const failed = this.bots.flatMap((bot) => bot.seen('undecryptable')).length;
    const sorted = [...this.roundTrips].sort((x, y) => x - y);
    const rows: [string, string][] = [
      ['QR codes A showed', String(qrs)],
      ['failed decryptions', String(failed)],
      ['logins refused', String(stats.rejectedLogins)],
      ['messages exchanged', String(stats.messages)],
      ['pairing, QR shown to open', ms(pairingMs)],
      ['restart, process start to open', ms(restartMs)],
      ['message round trip, p50', ms(sorted[Math.floor(sorted.length / 2)] ?? Number.NaN)],
      ['records stored for A', String(await countRecords(join(this.folder, 'A')))],
    ];
    const width = Math.max(...rows.map(([label]) => label.length));
    console.log('');
    for (const [label, value] of rows) console.log(`  ${label.padEnd(width)}  ${value.padStart(8)}`);
    console.log('');
    return qrs === 1 && failed === 0 && stats.rejectedLogins === 0;
  }

  async stop(): Promise<void> {
    await Promise.all(this.bots.map((bot) => bot.kill()));
  }
}

async function runLocally(): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'baileys-vault-demo-'));
  const server = await startWhatsAppServer();
  const demo = new Demo(server, folder);
  try {
    return await demo.run();
  } finally {
    await demo.stop();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function runOnWhatsApp(): Promise<boolean> {
  const bot = spawn(process.execPath, ['--import', 'tsx', BOT], { stdio: 'inherit' });
  // Ctrl-C reaches the bot by itself; the bot closes its session and decides when it is done.
  process.on('SIGINT', () => undefined);
  const [code] = await once(bot, 'exit');
  return code === 0;
}

try {
  const passed = await (process.argv.includes('--whatsapp') ? runOnWhatsApp() : runLocally());
  if (!passed) throw new Error('see above');
} catch (error) {
  console.error(`FAILED: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
