/**
 * A WhatsApp server on loopback that unmodified Baileys sockets pair with, log in to and exchange
 * end-to-end encrypted messages through. In memory; what a device did not acknowledge is sent again.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';
import type { WhatsAppServer } from './api.mjs';
import { Connection } from './connection.mjs';
import { handleControl } from './control.mjs';
import { type Device, Directory } from './directory.mjs';
import { KeyServer } from './keys.mjs';
import { type BinaryNode, child, firstChild, node, unixTime } from './nodes.mjs';
import { type ClientHandshake, createServerIdentity } from './noise.mjs';
import { Pairing } from './pairing.mjs';
import { Queries } from './queries.mjs';
import { Router } from './routing.mjs';
import { newStats, type Stats } from './stats.mjs';

/** Starts a server on a free port of 127.0.0.1. */
export async function startWhatsAppServer(): Promise<WhatsAppServer> {
  const stats = newStats();
  const directory = new Directory(stats);
  const core = new ServerCore(directory, stats);
  const identity = createServerIdentity();
  const http = createServer((request, response) => void handleControl(server, request, response));
  const sockets = new WebSocketServer({ server: http });
  sockets.on('connection', (socket) => new Connection(socket, identity, core));
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(0, '127.0.0.1', resolve);
  });
  const { port } = http.address() as AddressInfo;
  const server: WhatsAppServer = {
    url: `ws://127.0.0.1:${port}`,
    controlUrl: `http://127.0.0.1:${port}`,
    scan: async (qr, options) => {
      const { jid, lid } = await core.pairing.scan(qr, options);
      return { jid, lid };
    },
    disconnect: async (jid) => directory.device(jid)?.connection?.end(),
    stats: async () => {
      const depths = [...directory.devices()].map(({ jid, mailbox }) => [jid, mailbox.depth]);
      return { ...structuredClone(stats), queueDepth: Object.fromEntries(depths) };
    },
    close: async () => {
      for (const socket of sockets.clients) socket.terminate();
      sockets.close();
      http.closeAllConnections();
      await new Promise<void>((resolve) => http.close(() => resolve()));
    },
  };
  return server;
}

/** Takes connections through the handshake to pairing or login, then hands stanzas to who knows. */
class ServerCore {
  readonly pairing: Pairing;
  private readonly router: Router;
  private readonly queries: Queries;
  private readonly loggedIn = new Map<Connection, Device>();

  constructor(
    private readonly directory: Directory,
    private readonly stats: Stats,
  ) {
    this.pairing = new Pairing(directory, stats);
    this.router = new Router(directory, stats);
    this.queries = new Queries(directory, new KeyServer(directory, stats));
  }

  onHandshake(connection: Connection, { clientKey, payload }: ClientHandshake): void {
    if (payload.devicePairingData) {
      this.pairing.start(connection, clientKey, payload.devicePairingData);
      return;
    }
    const device = this.directory.device(`${payload.username}:${payload.device}@s.whatsapp.net`);
    if (!device?.credential.equals(clientKey)) {
      this.stats.rejectedLogins += 1;
      connection.end(node('failure', { reason: '401', location: 'local' }));
      return;
    }
    this.logIn(connection, device);
  }

  private logIn(connection: Connection, device: Device): void {
    device.connection?.end(node('stream:error', {}, [node('conflict', { type: 'replaced' })]));
    this.forget(device);
    device.connection = connection;
    this.loggedIn.set(connection, device);
    this.stats.logins += 1;
    connection.send(node('success', { t: unixTime(), lid: device.lid }));
    const routing = node('routing_info', {}, randomBytes(8));
    connection.send(node('ib', {}, [node('edge_routing', {}, [routing])]));
    connection.send(node('ib', {}, [node('dirty', { type: 'account_sync', timestamp: unixTime() })]));
  }

  private forget(device: Device): void {
    if (device.connection) this.loggedIn.delete(device.connection);
    device.connection = undefined;
    device.mailbox.detach();
  }

  onClose(connection: Connection): void {
    this.pairing.abandon(connection);
    const device = this.loggedIn.get(connection);
    if (device) this.forget(device);
  }

  onNode(connection: Connection, stanza: BinaryNode): void {
    const device = this.loggedIn.get(connection);
    if (!device) {
      this.pairing.receive(connection, stanza);
      return;
    }
    switch (stanza.tag) {
      case 'iq':
        this.onQuery(connection, device, stanza);
        break;
      case 'message':
        this.router.message(device, connection, stanza);
        break;
      case 'receipt':
        this.router.receipt(device, connection, stanza);
        break;
      case 'ack':
        this.router.ack(device, stanza);
        break;
      case 'ib':
        if (child(stanza, 'offline_batch')) {
          device.mailbox.startReplay(() => {
            if (device.synced) return;
            device.account.phone.sync(device).catch((error) => connection.abort(error));
          });
        }
        break;
      case 'presence':
      case 'chatstate':
        break;
      default:
        this.stats.unhandled.push(stanza.tag);
    }
  }

  private onQuery(connection: Connection, device: Device, iq: BinaryNode): void {
    if (iq.attrs.type === 'result') return;
    if (iq.attrs.xmlns === 'passive') {
      connection.reply(iq);
      if (child(iq, 'active')) device.mailbox.attach(connection);
      return;
    }
    if (this.queries.answer(device, connection, iq)) return;
    this.stats.unhandled.push(`iq ${iq.attrs.type} ${iq.attrs.xmlns} ${firstChild(iq)?.tag}`);
    connection.refuse(iq, 501, 'feature-not-implemented');
  }
}
