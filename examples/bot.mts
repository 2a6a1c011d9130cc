/**
 * A WhatsApp bot on this store: `node --import tsx examples/bot.mts [--session <folder>] [--url <ws url>]`.
 *
 * Without a URL it talks to WhatsApp and prints the QR code to scan with a phone. A parent process
 * with an IPC channel gets its events and may send commands; the demo does.
 */
import { parseArgs } from 'node:util';
import { fetchLatestBaileysVersion } from 'baileys';
import { useMultiFileAuthState } from 'baileys-vault';
import qrcode from 'qrcode-terminal';
import { type BotEvent, startBot } from './support/bot.mjs';
import { isDriven, obey, report } from './support/ipc.mjs';

const { values } = parseArgs({
  options: {
    session: { type: 'string', default: process.env.BOT_SESSION ?? 'sessions/bot' },
    url: { type: 'string', default: process.env.BOT_WHATSAPP_URL ?? '' },
  },
});

function show(event: BotEvent): void {
  switch (event.type) {
    case 'qr':
      console.log('Scan this with WhatsApp on your phone, under Linked devices:');
      qrcode.generate(event.qr, { small: true });
      break;
    case 'open':
      console.log(`logged in as ${event.jid}`);
      break;
    case 'message':
      console.log(`${event.chat}: ${event.text}`);
      break;
    case 'close':
      console.log(`connection closed: ${event.reason}`);
      break;
    case 'undecryptable':
      console.log(`could not decrypt ${event.id} from ${event.chat} yet: ${event.reason}`);
      break;
  }
}

const bot = await startBot({
  openAuth: () => useMultiFileAuthState(values.session),
  onEvent: isDriven ? report : show,
  echo: true,
  socket: values.url
    ? { waWebSocketUrl: values.url }
    : { version: (await fetchLatestBaileysVersion()).version },
});

if (isDriven) obey(bot);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void bot.close().then(() => process.exit(0)));
}
