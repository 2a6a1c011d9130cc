/** Runs the server as its own process: prints `{"url":…,"controlUrl":…}` and serves until killed. */
import { startWhatsAppServer } from './server.mjs';

const server = await startWhatsAppServer();
process.stdout.write(`${JSON.stringify({ url: server.url, controlUrl: server.controlUrl })}\n`);
for (const end of ['SIGINT', 'SIGTERM', 'disconnect'] as const) {
  process.once(end, () => void server.close().then(() => process.exit(0)));
}
