/** A bot on any auth store, driven over IPC by the harness. */
import { type Auth, startBot } from '../../examples/support/bot.mjs';
import { obey, report } from '../../examples/support/ipc.mjs';
import type { ChildSetup } from './harness.mjs';

const setup: ChildSetup = JSON.parse(process.env.BOT_SETUP ?? '');
const module: { default: (options: unknown) => Promise<Auth> } = await import(setup.authModule);

const bot = await startBot({
  openAuth: () => module.default(setup.authOptions),
  onEvent: report,
  alreadySent: setup.alreadySent,
  socket: { waWebSocketUrl: setup.url, appStateMacVerification: { patch: true, snapshot: true } },
});
obey(bot);
