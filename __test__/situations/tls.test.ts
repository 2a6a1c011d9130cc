/** Servers with TLS whose certificates nobody but the operator has signed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it, type TestContext } from 'node:test';
import { createServer, type Server as TlsServer } from 'node:tls';
import { describeWith, freePort, type Server, sharedMongo, startRedis } from '../support/services.js';
import { allOpened, type Outcome, outcomesOf } from './outcomes.js';

/** An authority, a server's certificate for 127.0.0.1 alone, and a client's; another authority that signed nothing. */
function makeCertificates(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vault-tls-'));
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
  };
  const key = (name: string): string[] => [
    ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
    ...['-nodes', '-keyout', `${name}.key`],
  ];
  for (const name of ['ca', 'other']) {
    openssl('req', '-x509', ...key(name), '-out', `${name}.pem`, '-days', '2', '-subj', `/CN=${name}`);
  }
  for (const name of ['server', 'client']) {
    writeFileSync(join(folder, `${name}.ext`), 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n');
    openssl('req', '-new', ...key(name), '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${name}.ext`];
    openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-days', '2', '-out', `${name}.pem`);
  }
  openssl('pkcs8', '-topk8', '-passout', 'pass:open', '-in', 'client.key', '-out', 'locked.key');
  return folder;
}

const PROGRAM = (calls: readonly string[]): string => `
import { readFileSync } from 'node:fs';
import * as vault from 'baileys-vault';
const { CERTS, REDIS_PORT, TLS_PORT, STRICT_PORT, MONGO_PORT, MONGO_URL } = process.env;
const path = (name) => CERTS + '/' + name;
const bytes = (name) => readFileSync(path(name));
const text = (name) => readFileSync(path(name), 'utf8');
const outcomes = await Promise.all([${calls.map((call) => `(base) => ${call}`).join(',\n')}].map(async (call, number) => {
  const warnings = [];
  const silent = () => {};
  const logger = { debug: silent, info: silent, error: silent, warn: (message) => warnings.push(message) };
  const base = { sessionId: 'tls-' + process.pid + '-' + number, logger, resilience: { operationTimeout: 4000, maxRetries: 0 } };
  try {
    const { saveCreds, store } = await call(base);
    await saveCreds();
    await store.delete(base.sessionId);
    await store.close();
    return { outcome: 'opened', warnings };
  } catch ({ code, field, message, retryable }) {
    return { outcome: code, field, message, retryable, warnings };
  }
}));
console.log('OUTCOMES ' + JSON.stringify(outcomes));
process.exit(0);
`;

const onRedis = (tls: string, port = 'TLS_PORT', host = '127.0.0.1'): string =>
  `vault.useRedisAuthState({ ...base, redis: { redisUrl: 'rediss://${host}:' + ${port}, tls: ${tls} } })`;
const onMongo = (tls: string, port = 'MONGO_PORT'): string =>
  `vault.useMongoAuthState({ ...base, mongodb: { mongoUrl: 'mongodb://127.0.0.1:' + ${port} + '/tls', tls: ${tls} } })`;

describeWith(['redis', 'mongo'], 'TLS of one’s own', () => {
  let certs: string;
  let redis: Server;
  let strict: Server;
  let terminator: TlsServer;
  const env: Record<string, string> = {};

  before(async () => {
    certs = makeCertificates();
    const at = (name: string): string => join(certs, name);
    const [tlsPort, strictPort] = [await freePort(), await freePort()];
    const config = {
      'tls-cert-file': at('server.pem'),
      'tls-key-file': at('server.key'),
      'tls-ca-cert-file': at('ca.pem'),
    };
    redis = await startRedis({
      config: { ...config, 'tls-port': String(tlsPort), 'tls-auth-clients': 'no' },
    });
    strict = await startRedis({
      config: { ...config, 'tls-port': String(strictPort), 'tls-auth-clients': 'yes' },
    });
    const mongoUrl = await sharedMongo();
    const { hostname, port } = new URL(mongoUrl.replace('mongodb:', 'http:'));
    terminator = createServer(
      { cert: readFileSync(at('server.pem')), key: readFileSync(at('server.key')) },
      (socket) => {
        const behind = connect(Number(port), hostname);
        socket.on('error', () => behind.destroy());
        behind.on('error', () => socket.destroy());
        socket.pipe(behind).pipe(socket);
      },
    );
    terminator.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => terminator.listen(0, '127.0.0.1', resolve));
    const { port: mongoPort } = terminator.address() as { port: number };
    Object.assign(env, {
      CERTS: certs,
      REDIS_PORT: String(redis.port),
      TLS_PORT: String(tlsPort),
      STRICT_PORT: String(strictPort),
      MONGO_PORT: String(mongoPort),
      MONGO_URL: mongoUrl,
    });
  });
  after(async () => {
    terminator?.close();
    await Promise.all([redis?.stop(), strict?.stop()]);
    rmSync(certs, { recursive: true, force: true });
  });

  const run = (t: TestContext, calls: readonly string[], more: NodeJS.ProcessEnv = {}): Promise<Outcome[]> =>
    outcomesOf(t, PROGRAM(calls), { ...env, ...more });

  it('trusts each of several authorities', async (t) => {
    allOpened(await run(t, [onRedis(`{ ca: [text('other.pem'), bytes('ca.pem')] }`)]));
  });

  it('trusts the authority that is given, as text, bytes or path', async (t) => {
    allOpened(
      await run(t, [
        onRedis(`{ ca: text('ca.pem') }`),
        onRedis(`{ ca: bytes('ca.pem') }`),
        onRedis(`{ ca: path('ca.pem') }`),
        onMongo(`{ ca: path('ca.pem') }`),
        `vault.useHybridAuthState({ ...base, hybrid: {
          redisUrl: \`redis://127.0.0.1:\${TLS_PORT}\`, redisTls: { ca: path('ca.pem') },
          mongoUrl: \`mongodb://127.0.0.1:\${MONGO_PORT}/tls\`, mongoTls: { ca: bytes('ca.pem') },
        } })`,
        `vault.useMongoAuthState({ ...base, mongodb: {
          mongoUrl: \`mongodb://127.0.0.1:\${MONGO_PORT}/tls?tls=true&tlsCAFile=\${encodeURIComponent(path('ca.pem'))}\`,
        } })`,
      ]),
    );
  });

  it('trusts what NODE_EXTRA_CA_CERTS and the system hold', async (t) => {
    const calls = [onRedis('true'), onRedis('{}'), onMongo('true')];
    allOpened(await run(t, calls, { NODE_EXTRA_CA_CERTS: join(certs, 'ca.pem') }));
    allOpened(await run(t, calls, { SSL_CERT_FILE: join(certs, 'ca.pem') }));
  });

  it('refuses a certificate that nobody trusted has signed, or of another name', async (t) => {
    const outcomes = await run(t, [
      onRedis('undefined'),
      onRedis(`{ ca: path('other.pem') }`),
      onRedis(`{ ca: path('ca.pem') }`, undefined, 'localhost'),
      onMongo('true'),
      `vault.useHybridAuthState({ ...base, hybrid: {
        redisUrl: \`rediss://127.0.0.1:\${TLS_PORT}\`, redisTls: { ca: path('ca.pem') },
        mongoUrl: \`mongodb://127.0.0.1:\${MONGO_PORT}/tls\`, mongoTls: { ca: path('other.pem') },
      } })`,
      `vault.useHybridAuthState({ ...base, hybrid: {
        redisUrl: \`rediss://127.0.0.1:\${TLS_PORT}\`, redisTls: { ca: path('other.pem') }, mongoUrl: MONGO_URL,
      } })`,
    ]);
    assert.deepEqual(
      outcomes.map(({ outcome, retryable, field }) => [outcome, retryable, field]),
      [
        ['CONFIG_INVALID', false, 'redis.redisUrl'],
        ['CONFIG_INVALID', false, 'redis.tls'],
        ['CONFIG_INVALID', false, 'redis.tls'],
        ['CONFIG_INVALID', false, 'mongodb.tls'],
        ['CONFIG_INVALID', false, 'hybrid.mongoTls'],
        ['CONFIG_INVALID', false, 'hybrid.redisTls'],
      ],
      JSON.stringify(outcomes),
    );
    for (const [index, expected] of [
      /signed by nobody/,
      /signed by nobody/,
      /another name/,
      /signed by nobody/,
    ].entries()) {
      assert.match(outcomes[index]?.message ?? '', expected);
    }
  });

  it('takes any certificate where that is asked for, and says so', async (t) => {
    const outcomes = await run(t, [
      onRedis('{ rejectUnauthorized: false }'),
      onMongo('{ rejectUnauthorized: false }'),
    ]);
    allOpened(outcomes);
    for (const { warnings } of outcomes) {
      assert.equal(warnings.filter((text) => text.includes('rejectUnauthorized')).length, 1);
    }
  });

  it('shows its own certificate to a server that asks for one', async (t) => {
    const outcomes = await run(t, [
      onRedis(`{ ca: path('ca.pem'), cert: path('client.pem'), key: bytes('client.key') }`, 'STRICT_PORT'),
      onRedis(
        `{ ca: path('ca.pem'), cert: text('client.pem'), key: path('locked.key'), passphrase: 'open' }`,
        'STRICT_PORT',
      ),
    ]);
    allOpened(outcomes);
    const [none] = await run(t, [onRedis(`{ ca: path('ca.pem') }`, 'STRICT_PORT')]);
    assert.deepEqual([none?.outcome, none?.field, none?.retryable], ['CONFIG_INVALID', 'redis.tls', false]);
    assert.match(none?.message ?? '', /`cert` and `key`/);
  });

  it('says that a port is not one of TLS, or only of TLS', async (t) => {
    const outcomes = await run(t, [
      onRedis('true', 'REDIS_PORT'),
      `vault.useRedisAuthState({ ...base, redis: { redisUrl: \`rediss://127.0.0.1:\${REDIS_PORT}\` } })`,
      `vault.useRedisAuthState({ ...base, redis: { host: '127.0.0.1', port: REDIS_PORT, tls: {} } })`,
      `vault.useMongoAuthState({ ...base, mongodb: { mongoUrl: MONGO_URL, tls: true } })`,
    ]);
    for (const { outcome, retryable, message } of outcomes) {
      assert.deepEqual([outcome, retryable], ['CONFIG_INVALID', false], message);
      assert.match(message ?? '', /does not speak TLS at this port/);
    }
    const reverse = await run(t, [
      `vault.useRedisAuthState({ ...base, redis: { redisUrl: 'redis://127.0.0.1:' + TLS_PORT } })`,
      `vault.useMongoAuthState({ ...base, mongodb: { mongoUrl: 'mongodb://127.0.0.1:' + MONGO_PORT } })`,
    ]);
    assert.deepEqual(
      reverse.map(({ outcome, field }) => `${outcome} ${field}`),
      ['CONFIG_INVALID redis.redisUrl', 'CONFIG_INVALID mongodb.mongoUrl'],
      JSON.stringify(reverse),
    );
    for (const { message } of reverse) {
      assert.match(message ?? '', /speaks TLS at this port/);
    }
  });

  it('names the part that is wrong before it connects', async (t) => {
    const outcomes = await run(t, [
      onRedis(`{ ca: path('nowhere.pem') }`),
      onRedis(`{ ca: Buffer.from('no PEM') }`),
      onRedis(`{ cert: path('client.pem') }`),
      onRedis(`{ cert: path('client.pem'), key: path('server.key') }`),
      onRedis(`{ cert: path('client.pem'), key: path('locked.key'), passphrase: 'shut' }`),
      onMongo(`{ ca: path('ca.pem'), caFile: 'x' }`),
      `vault.useRedisAuthState({ ...base, redis: { redisUrl: 'rediss://h', tls: false } })`,
    ]);
    assert.deepEqual(
      outcomes.map(({ outcome, field }) => `${outcome} ${field}`),
      [
        'CONFIG_INVALID redis.tls.ca',
        'CONFIG_INVALID redis.tls.ca',
        'CONFIG_INVALID redis.tls.key',
        'CONFIG_INVALID redis.tls.key',
        'CONFIG_INVALID redis.tls.passphrase',
        'CONFIG_INVALID mongodb.tls.caFile',
        'CONFIG_INVALID redis.tls',
      ],
    );
  });
});
