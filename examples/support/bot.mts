/** A bot after Baileys' own Example: pairs, reconnects until logged out, echoes what it is told. */
import {
  type AuthenticationState,
  DisconnectReason,
  generateMessageIDV2,
  makeWASocket,
  proto,
  type UserFacingSocketConfig,
  type WAMessage,
  type WASocket,
} from 'baileys';
import { pino } from 'pino';

/** What an auth-state hook such as `useMultiFileAuthState` returns. */
export interface Auth {
  state: AuthenticationState;
  saveCreds: () => Promise<void>;
  close?: () => Promise<void>;
}

export type BotEvent =
  | { type: 'qr'; qr: string }
  | { type: 'open'; jid: string; lid: string }
  /** The backlog of the time offline has been handled. */
  | { type: 'caught-up' }
  /** The first history and app state after pairing are in. */
  | { type: 'synced' }
  | { type: 'close'; statusCode: number | undefined; reason: string }
  | { type: 'logged-out' }
  /** `offline`: it had waited at the server. */
  | { type: 'message'; id: string; chat: string; text: string; offline: boolean }
  /** What another device of the same account sent. */
  | { type: 'copy'; id: string; chat: string; text: string }
  /** A message that could not be decrypted (yet: Baileys asks the sender for it again). */
  | { type: 'undecryptable'; id: string; chat: string; reason: string }
  | { type: 'sent'; id: string }
  | { type: 'send-failed'; id: string; reason: string };

export interface BotOptions {
  /** Called at every (re)connect, as Baileys' Example does. */
  openAuth: () => Promise<Auth>;
  onEvent: (event: BotEvent) => void;
  /** Answer live messages with `echo: <text>`. Default false. */
  echo?: boolean;
  /** Texts sent in an earlier life, by message id: a peer may ask for them again. */
  alreadySent?: Iterable<readonly [id: string, text: string]>;
  /** Passed on to `makeWASocket`. */
  socket?: Partial<Omit<UserFacingSocketConfig, 'auth'>>;
}

export interface Bot {
  /** Resolves when the message is on its way and the state it left behind is stored. */
  send(to: string, text: string, id?: string): Promise<string>;
  /** The current socket, for anything else; it changes with every reconnect. */
  readonly socket: WASocket;
  close(): Promise<void>;
}

const RECONNECT_DELAY_MS = 500;
const ECHO = 'echo: ';

export async function startBot(options: BotOptions): Promise<Bot> {
  const { openAuth, onEvent, echo = false } = options;
  const logger = pino({ level: process.env.LOG_LEVEL ?? 'silent' });
  const sent = new Map(options.alreadySent);
  const opened = new Set<Auth>();
  const saves = new Set<Promise<void>>();
  let closed = false;
  let socket: WASocket;

  const send: Bot['send'] = async (to, text, id = generateMessageIDV2(socket.user?.id)) => {
    sent.set(id, text);
    await socket.sendMessage(to, { text }, { messageId: id });
    onEvent({ type: 'sent', id });
    return id;
  };

  const onMessage = async (message: WAMessage, offline: boolean) => {
    const { id, remoteJid, fromMe } = message.key;
    if (!id || !remoteJid || (fromMe && sent.has(id))) return;
    if (message.messageStubType === proto.WebMessageInfo.StubType.CIPHERTEXT) {
      const reason = message.messageStubParameters?.[0] ?? 'unknown';
      onEvent({ type: 'undecryptable', id, chat: remoteJid, reason });
      return;
    }
    const text = message.message?.conversation ?? message.message?.extendedTextMessage?.text;
    if (!text) return;
    if (fromMe) {
      onEvent({ type: 'copy', id, chat: remoteJid, text });
      return;
    }
    onEvent({ type: 'message', id, chat: remoteJid, text, offline });
    // Two echoing bots must not talk for ever.
    if (echo && !offline && !text.startsWith(ECHO)) await send(remoteJid, `${ECHO}${text}`);
  };

  const connect = async () => {
    // Not every store keeps the order of what is saved and what is opened.
    await Promise.allSettled(saves);
    const auth = await openAuth();
    opened.add(auth);
    socket = makeWASocket({
      logger,
      ...options.socket,
      auth: auth.state,
      getMessage: async ({ id }) => (id && sent.has(id) ? { conversation: sent.get(id) ?? '' } : undefined),
    });
    socket.ev.process(async (events) => {
      if (events['creds.update']) {
        const saving = auth.saveCreds();
        saves.add(saving);
        await saving.finally(() => saves.delete(saving));
        if (events['creds.update'].accountSyncCounter === 1) onEvent({ type: 'synced' });
      }
      const update = events['connection.update'];
      if (update?.qr) onEvent({ type: 'qr', qr: update.qr });
      if (update?.connection === 'open') {
        onEvent({ type: 'open', jid: auth.state.creds.me?.id ?? '', lid: auth.state.creds.me?.lid ?? '' });
      }
      if (update?.receivedPendingNotifications) onEvent({ type: 'caught-up' });
      if (update?.connection === 'close') onClose(update.lastDisconnect?.error);
      for (const message of events['messages.upsert']?.messages ?? []) {
        await onMessage(message, events['messages.upsert']?.type === 'append');
      }
    });
  };

  const onClose = (error: Error | undefined) => {
    const statusCode = (error as { output?: { statusCode?: number } } | undefined)?.output?.statusCode;
    onEvent({ type: 'close', statusCode, reason: error?.message ?? 'closed' });
    if (closed) return;
    if (statusCode === DisconnectReason.loggedOut) {
      onEvent({ type: 'logged-out' });
      return;
    }
    const delay = statusCode === DisconnectReason.restartRequired ? 0 : RECONNECT_DELAY_MS;
    setTimeout(() => closed || void connect(), delay);
  };

  await connect();
  return {
    send,
    get socket() {
      return socket;
    },
    async close() {
      closed = true;
      await socket.end(undefined);
      await Promise.all(saves);
      for (const auth of opened) await auth.close?.();
    },
  };
}
