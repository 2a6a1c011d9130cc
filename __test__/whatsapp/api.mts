import type { ScanOptions } from './pairing.mjs';
import type { Stats } from './stats.mjs';

export interface Paired {
  /** `<phone>:<device>@s.whatsapp.net` */
  jid: string;
  /** `<lid>:<device>@lid` */
  lid: string;
}

export interface WhatsAppServer {
  /** `ws://127.0.0.1:<port>`, for `waWebSocketUrl`. */
  readonly url: string;
  /** The same port, for `POST /scan`, `POST /disconnect` and `GET /stats`. */
  readonly controlUrl: string;
  /** The phone reads a QR code. Resolves once the companion has proved its identity. */
  scan(qr: string, options?: ScanOptions): Promise<Paired>;
  /** Drops a device's connection without a word, as a network failure does. */
  disconnect(jid: string): Promise<void>;
  /** `queueDepth` counts stanzas not yet acknowledged, by device JID. */
  stats(): Promise<Stats & { queueDepth: Record<string, number> }>;
  close(): Promise<void>;
}
