import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import { type FaultProxy, startProxy } from './proxy';
import { describeWith, freePort, type Server, startRedis, until } from './services';

/** A server that remembers what it was sent and answers each packet with it, in capitals. */
class Shouter {
  readonly heard: string[] = [];
  readonly #server: NetServer;
  readonly #sockets = new Set<Socket>();

  constructor(readonly port: number) {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('data', (packet) => {
        this.heard.push(packet.toString());
        socket.write(packet.toString().toUpperCase());
      });
    });
  }

  async listen(): Promise<this> {
    this.#server.listen(this.port, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  get text(): string {
    return this.heard.join('');
  }
}

/** A client that collects what it is told. */
class Client {
  text = '';
  outcome: 'open' | 'reset' | 'closed' | 'refused' = 'open';
  readonly socket: Socket;

  constructor(port: number) {
    this.socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('data', (packet) => {
      this.text += packet;
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.outcome = error.code === 'ECONNREFUSED' ? 'refused' : 'reset';
    });
    this.socket.on('close', () => {
      if (this.outcome === 'open') this.outcome = 'closed';
    });
  }

  say(text: string): void {
    this.socket.write(text);
  }

  hears(text: string): Promise<void> {
    return until(`the client hears ${text}`, async () => this.text === text, 5_000);
  }

  ends(outcome: Client['outcome']): Promise<void> {
    return until(`the connection is ${outcome}`, async () => this.outcome === outcome, 5_000);
  }
}

describe('the fault proxy', () => {
  let server: Shouter;
  let proxy: FaultProxy;
  const clients: Client[] = [];
  const newClient = (): Client => {
    const client = new Client(proxy.port);
    clients.push(client);
    return client;
  };

  beforeEach(async () => {
    server = await new Shouter(await freePort()).listen();
    proxy = await startProxy(server.port);
  });
  afterEach(async () => {
    for (const { socket } of clients.splice(0)) socket.destroy();
    await proxy.close();
    server.close();
  });

  /** A client whose connection is known to work. */
  const greeted = async (): Promise<Client> => {
    const client = newClient();
    client.say('hi');
    await client.hears('HI');
    client.text = '';
    return client;
  };

  it('passes both directions and both ends on, and counts', async () => {
    const client = await greeted();
    assert.equal(proxy.open, 1);
    assert.equal(proxy.accepted, 1);
    client.socket.end();
    await client.ends('closed');
    await until('the proxy has let go', async () => proxy.open === 0);
    assert.equal(proxy.accepted, 1);
  });

  it('passes more than fits into the buffers', async () => {
    const client = newClient();
    const text = 'x'.repeat(4_000_000);
    client.say(text);
    await until('all came back', async () => client.text.length === text.length);
    assert.equal(client.text, text.toUpperCase());
  });

  it('resets the client when the server is not there', async () => {
    server.close();
    await newClient().ends('reset');
  });

  it('cuts all connections', async () => {
    const both = [await greeted(), await greeted()];
    proxy.cutAll();
    for (const client of both) await client.ends('reset');
    assert.equal(proxy.open, 0);
    await greeted();
  });

  it('refuses new connections and keeps old ones', async () => {
    const old = await greeted();
    await proxy.refuse(true);
    await newClient().ends('refused');
    old.say('still');
    await old.hears('STILL');
    await proxy.refuse(false);
    await greeted();
  });

  it('delays answers and keeps their order', async () => {
    const client = await greeted();
    proxy.delay(80);
    const start = performance.now();
    client.say('a');
    await until('the server has it', async () => server.text === 'hia');
    proxy.delay(0);
    client.say('b');
    await client.hears('AB');
    assert.ok(performance.now() - start >= 75);
  });

  it('swallows everything in a black hole, then cuts what is torn and nothing else', async () => {
    const torn = await greeted();
    const whole = await greeted();
    proxy.blackhole(true);
    torn.say('lost');
    const during = newClient();
    during.say('lost too');
    await until('all is swallowed', async () => proxy.swallowed === 'lostlost too'.length);
    assert.equal(server.text, 'hihi');
    assert.equal(torn.outcome, 'open');
    proxy.blackhole(false);
    await torn.ends('reset');
    await during.ends('reset');
    whole.say('ok');
    await whole.hears('OK');
  });

  it('cuts before a matching request', async () => {
    const client = await greeted();
    proxy.cutBeforeRequest('never');
    client.say('never');
    await client.ends('reset');
    assert.equal(server.text, 'hi');
    assert.equal(proxy.pendingFaults, 0);
  });

  it('cuts after a matching request has been carried out, as often as asked', async () => {
    proxy.cutAfterRequest(Buffer.from('commit'), { times: 2 });
    for (let round = 0; round < 2; round++) {
      const client = await greeted();
      client.say('commit');
      await client.ends('reset');
      assert.equal(client.text, '');
    }
    assert.equal(server.text, 'hicommithicommit');
    const client = await greeted();
    client.say('commit');
    await client.hears('COMMIT');
  });

  it('recognises bytes that are spread over packets', async () => {
    const client = await greeted();
    proxy.cutAfterRequest('commit');
    client.say('com');
    await client.hears('COM');
    client.say('mit');
    await client.ends('reset');
    assert.equal(server.text, 'hicommit');
    assert.equal(client.text, 'COM');
  });

  it('asks a predicate about each packet', async () => {
    const client = await greeted();
    proxy.cutBeforeRequest((packet) => packet.length === 3);
    client.say('four');
    await client.hears('FOUR');
    client.say('abc');
    await client.ends('reset');
  });

  it('drops a request and leaves its connection open and silent', async () => {
    const client = await greeted();
    proxy.dropRequests('lost');
    client.say('lost');
    await until('the proxy has dropped it', async () => proxy.pendingFaults === 0);
    client.say('later');
    await until('all is swallowed', async () => proxy.swallowed === 'lostlater'.length);
    await greeted();
    assert.equal(server.text, 'hihi');
    assert.equal(client.outcome, 'open');
    assert.equal(client.text, '');
  });

  it('tells what each client sends, also what is cut off', async () => {
    const heard: string[] = [];
    proxy.listen((connection, packet) => heard.push(`${connection} ${packet}`));
    await greeted();
    const second = await greeted();
    proxy.cutBeforeRequest('bye');
    second.say('bye');
    await second.ends('reset');
    assert.deepEqual(heard, ['1 hi', '2 hi', '2 bye']);
  });

  it('heals', async () => {
    proxy.cutBeforeRequest('hi', { times: 5 });
    proxy.delay(60_000);
    proxy.blackhole(true);
    await proxy.refuse(true);
    await proxy.heal();
    await greeted();
  });

  it('refuses bytes that it could not recognise', () => {
    assert.throws(() => proxy.cutAfterRequest(''), RangeError);
    assert.throws(() => proxy.cutAfterRequest('x'.repeat(2_000)), RangeError);
  });
});

describeWith('redis', 'the fault proxy before Redis', () => {
  let redis: Server;
  let proxy: FaultProxy;
  before(async () => {
    redis = await startRedis();
    proxy = await startProxy(redis.port);
  });
  after(async () => {
    await proxy.close();
    await redis.stop();
  });

  it('has a command at the end of a pipeline carried out, and its answer lost', async () => {
    const client = new Redis({
      port: proxy.port,
      host: proxy.host,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
    });
    client.on('error', () => {});
    await client.ping();
    proxy.cutAfterRequest('last');
    const early = Array.from({ length: 50 }, (_, i) => client.set(`early-${i}`, 'x'.repeat(2_000)));
    const answers = await Promise.allSettled([...early, client.set('last', '1')]);
    assert.equal(answers.at(-1)?.status, 'rejected');
    const direct = new Redis(redis.port, redis.host);
    assert.equal(await direct.get('last'), '1');
    direct.disconnect();
    client.disconnect();
  });
});
