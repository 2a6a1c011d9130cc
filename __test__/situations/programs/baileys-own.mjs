/**
 * A bot that is back on Baileys' own function: `node baileys-own.mjs <release> <folder> <url> [number]`. Says what became
 * of it: an error thrown, the connection closed, or that it shows a QR code or asks for a pairing code.
 */
const [release, folder, url, number] = process.argv.slice(2);
const module = await import(release);
const { useMultiFileAuthState, makeWASocket } = module.makeWASocket ? module : module.default;

const silent = () => {};
const logger = {
  level: 'silent',
  child: () => logger,
  trace: silent,
  debug: silent,
  info: silent,
  warn: silent,
  error: silent,
};
const say = (what) => {
  console.log(JSON.stringify(what));
  process.exit();
};

const { state, saveCreds } = await useMultiFileAuthState(folder);
let socket;
try {
  socket = makeWASocket({ auth: state, logger, waWebSocketUrl: url });
} catch (error) {
  say({ how: 'threw', message: error.message });
}
socket.ev.on('creds.update', saveCreds);
socket.ev.on('connection.update', ({ connection, lastDisconnect, qr }) => {
  if (qr !== undefined) say({ how: 'QR code' });
  if (connection === 'close') say({ how: 'closed', message: lastDisconnect?.error?.message });
});
if (number !== undefined) {
  await socket.requestPairingCode(number).then(
    () => say({ how: 'pairing code' }),
    () => {},
  );
}
