/** The server's remote control over HTTP, and its client: lets the server run as its own process. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { WhatsAppServer } from './api.mjs';

type Remote = Pick<WhatsAppServer, 'scan' | 'disconnect' | 'stats'>;

export async function handleControl(
  server: Remote,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const answer = (status: number, body: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  try {
    const body = request.method === 'POST' ? JSON.parse(await text(request)) : {};
    switch (`${request.method} ${request.url}`) {
      case 'GET /stats':
        return answer(200, await server.stats());
      case 'POST /scan':
        return answer(200, await server.scan(body.qr, body.options));
      case 'POST /disconnect':
        await server.disconnect(body.jid);
        return answer(200, {});
      default:
        return answer(404, { error: 'no such command' });
    }
  } catch (error) {
    answer(400, { error: error instanceof Error ? error.message : String(error) });
  }
}

/** Drives a server in another process through its `controlUrl`. */
export function remoteControl(controlUrl: string): Remote {
  const call = async <T,>(method: string, path: string, body?: unknown): Promise<T> => {
    const response = await fetch(new URL(path, controlUrl), {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as T & { error?: string };
    if (!response.ok) throw new Error(`${method} ${path}: ${answer.error}`);
    return answer;
  };
  return {
    scan: (qr, options) => call('POST', '/scan', { qr, options }),
    disconnect: async (jid) => void (await call('POST', '/disconnect', { jid })),
    stats: () => call('GET', '/stats'),
  };
}

/** Starts a server in a process of its own, which ends with this one at the latest. */
export async function spawnWhatsAppServer(): Promise<WhatsAppServer> {
  const child = fork(fileURLToPath(new URL('./main.mts', import.meta.url)), [], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  const [line] = await Promise.race([
    once(child.stdout as NodeJS.ReadableStream, 'data'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`the server exited with ${code}`))),
  ]);
  const { url, controlUrl } = JSON.parse(line.toString());
  return {
    url,
    controlUrl,
    ...remoteControl(controlUrl),
    close: async () => {
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    },
  };
}
