import { decodeBinaryNode, encodeBinaryNode } from 'baileys';
import type { RawData, WebSocket } from 'ws';
import { type BinaryNode, node } from './nodes.mjs';
import { type ClientHandshake, NoiseResponder, type ServerIdentity } from './noise.mjs';

export interface ConnectionHandlers {
  onHandshake(connection: Connection, client: ClientHandshake): void;
  onNode(connection: Connection, stanza: BinaryNode): void | Promise<void>;
  onClose(connection: Connection): void;
}

/** One client's encrypted stream of stanzas, handled strictly in the order they came. */
export class Connection {
  private readonly noise: NoiseResponder;
  private work: Promise<void> = Promise.resolve();

  constructor(
    private readonly socket: WebSocket,
    identity: ServerIdentity,
    private readonly handlers: ConnectionHandlers,
  ) {
    this.noise = new NoiseResponder(identity);
    socket.on('message', (data) => {
      this.work = this.work.then(() => this.receive(data)).catch((error) => this.abort(error));
    });
    socket.on('error', () => socket.terminate());
    socket.on('close', () => handlers.onClose(this));
  }

  private async receive(data: RawData): Promise<void> {
    for (const frame of this.noise.frames(data as Buffer)) {
      if (this.noise.established) {
        await this.handlers.onNode(this, await decodeBinaryNode(this.noise.open(frame)));
        continue;
      }
      const step = this.noise.handshakeFrame(frame);
      if ('reply' in step) this.socket.send(step.reply);
      else this.handlers.onHandshake(this, step);
    }
  }

  /** Drops the connection because of an error; says why, unless the client is gone already. */
  abort(error: unknown): void {
    if (this.socket.readyState === this.socket.OPEN) {
      process.stderr.write(`closing a connection: ${error instanceof Error ? error.stack : error}\n`);
    }
    this.socket.terminate();
  }

  send(stanza: BinaryNode): void {
    if (this.socket.readyState !== this.socket.OPEN) return;
    this.socket.send(this.noise.seal(encodeBinaryNode(stanza)));
  }

  reply(iq: BinaryNode, content?: BinaryNode[]): void {
    this.send(node('iq', { id: iq.attrs.id, type: 'result', from: iq.attrs.to }, content));
  }

  refuse(iq: BinaryNode, code: number, text: string): void {
    const error = node('error', { code: code.toString(), text });
    this.send(node('iq', { id: iq.attrs.id, type: 'error', from: iq.attrs.to }, [error]));
  }

  /** Says a last word and closes once it is flushed. */
  end(lastWord?: BinaryNode): void {
    if (lastWord) this.send(lastWord);
    this.socket.close();
  }
}
