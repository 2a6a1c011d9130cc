/** How PostgreSQL is reached: TLS by `sslmode`, sockets, several hosts; who may, and what is said to whoever may not. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { describeWith, freePort, type Server, sql, startPostgres } from '../support/services.js';
import { opening } from './load.js';

const quiet = (): void => {};
const logger = { debug: quiet, info: quiet, warn: quiet, error: quiet };

interface Outcome {
  code: string;
  field?: string;
  message: string;
}

describeWith('postgres', 'reaching PostgreSQL', () => {
  let folder: string;
  let server: Server;
  let at: string;

  /** Opens and closes a session: `opened`, or the error. */
  async function outcome(section: object, resilience: object = {}): Promise<Outcome> {
    const { vault } = await opening();
    try {
      const { state, store } = await vault.usePostgresAuthState({
        sessionId: `s-${Math.random()}`,
        logger,
        openTimeout: 300,
        resilience,
        postgres: section as never,
      });
      await state.keys.set({ session: { a: { seq: 1 } as never } });
      await store.close();
      return { code: 'opened', message: '' };
    } catch (error) {
      return error as Outcome;
    }
  }

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vault-pg-tls-'));
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
    writeFileSync(join(folder, 'server.ext'), 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n');
    openssl('req', '-new', ...key('server'), '-out', 'server.csr', '-subj', '/CN=server');
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'server.ext'];
    openssl('x509', '-req', '-in', 'server.csr', ...by, '-days', '2', '-out', 'server.pem');
    // The socket is the server's to make there, whoever that runs as.
    chmodSync(folder, 0o777);
    server = await startPostgres({ config: { unix_socket_directories: folder } });
    at = `127.0.0.1:${server.port}/vault`;
    const data = join(server.dir, 'data');
    for (const [from, to] of [
      ['server.pem', 'server.crt'],
      ['server.key', 'server.key'],
    ] as const) {
      writeFileSync(join(data, to), readFileSync(join(folder, from)));
      const { uid, gid } = statSync(join(data, 'PG_VERSION'));
      chownSync(join(data, to), uid, gid);
      chmodSync(join(data, to), 0o600);
    }
    sql(server, "CREATE ROLE pw LOGIN PASSWORD 's3cr3t'; CREATE ROLE narrow LOGIN; CREATE ROLE poor LOGIN");
    sql(server, 'GRANT CREATE ON DATABASE vault TO pw; CREATE SCHEMA own AUTHORIZATION narrow');
    writeFileSync(
      join(data, 'pg_hba.conf'),
      'local all all trust\nhost all pw 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n',
    );
    sql(server, 'SELECT pg_reload_conf()');
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('without TLS there, what asks for it is refused, and the rest goes on', async () => {
    for (const mode of ['disable', 'allow', 'prefer']) {
      assert.equal((await outcome({ url: `postgres://vault@${at}?sslmode=${mode}` })).code, 'opened', mode);
    }
    for (const section of [
      { url: `postgres://vault@${at}?sslmode=require` },
      { url: `postgres://vault@${at}`, tls: true },
    ]) {
      const { code, field, message } = await outcome(section);
      assert.equal(code, 'CONFIG_INVALID');
      assert.match(message, /does not speak TLS/);
      assert.match(field ?? '', /^postgres\.(url|tls)$/);
    }
  });

  it('by TLS, proves as much as sslmode asks for', async () => {
    sql(server, 'ALTER SYSTEM SET ssl = on');
    sql(server, 'SELECT pg_reload_conf()');
    const ca = encodeURIComponent(join(folder, 'ca.pem'));
    const other = encodeURIComponent(join(folder, 'other.pem'));
    const named = at.replace('127.0.0.1', 'localhost');
    for (const [url, expected] of [
      [`${at}?sslmode=prefer`, 'opened'],
      [`${at}?sslmode=require`, 'opened'],
      [`${at}?sslmode=require&sslrootcert=${other}`, /signed by nobody who is trusted/],
      [`${at}?sslmode=verify-ca&sslrootcert=${ca}`, 'opened'],
      [`${named}?sslmode=verify-ca&sslrootcert=${ca}`, 'opened'],
      [`${at}?sslmode=verify-full&sslrootcert=${ca}`, 'opened'],
      [`${named}?sslmode=verify-full&sslrootcert=${ca}`, /for another name/],
      [`${at}?sslmode=verify-full`, /signed by nobody who is trusted/],
      [`${at}?sslmode=verify-full&sslrootcert=/nowhere`, /sslrootcert/],
    ] as const) {
      const found = await outcome({ url: `postgres://vault@${url}` });
      if (expected === 'opened') assert.equal(found.code, 'opened', `${url}: ${found.message}`);
      else {
        assert.equal(found.code, 'CONFIG_INVALID', url);
        assert.match(found.message, expected, url);
      }
    }
    const tls = { ca: join(folder, 'ca.pem') };
    assert.equal((await outcome({ url: `postgres://vault@${at}`, tls })).code, 'opened');
    assert.match((await outcome({ url: `postgres://vault@${named}`, tls })).message, /for another name/);
    const lax = { rejectUnauthorized: false };
    assert.equal((await outcome({ url: `postgres://vault@${named}`, ssl: lax })).code, 'opened');
    // SCRAM with the certificate bound into it.
    const bound = `postgres://pw:s3cr3t@${at}?sslmode=require&channel_binding=require`;
    assert.equal((await outcome({ url: bound, schema: 'bound' })).code, 'opened');
  });

  it('by a socket, by parts, and by the host that takes writes', async () => {
    const socket = { host: folder, port: server.port, user: 'vault', database: 'vault' };
    assert.equal((await outcome(socket)).code, 'opened');
    const parts = { host: '127.0.0.1', port: server.port, user: 'pw', password: 's3cr3t', database: 'vault' };
    assert.equal((await outcome({ ...parts, schema: 'parts' })).code, 'opened');
    const dead = await freePort();
    const url = `postgres://vault@127.0.0.1:${dead},${at}?target_session_attrs=read-write`;
    assert.equal((await outcome({ url })).code, 'opened');
  });

  it('says what is wrong, and never the password', async () => {
    for (const [section, code, message, field] of [
      [{ url: `postgres://pw:wr0ng@${at}` }, 'CONFIG_INVALID', /credentials/, 'postgres.url'],
      [
        { url: `postgres://pw@${at}`, password: 'wr0ng' },
        'CONFIG_INVALID',
        /credentials/,
        'postgres.password',
      ],
      [{ url: `postgres://pw@${at}` }, 'CONFIG_INVALID', /login/, 'postgres.url'],
      [{ url: `postgres://nobody@${at}` }, 'CONFIG_INVALID', /credentials/, 'postgres.url'],
      [
        { url: `postgres://vault@127.0.0.1:${server.port}/none` },
        'CONFIG_INVALID',
        /no database/,
        'postgres.url',
      ],
      [{ url: `postgres://poor@${at}` }, 'CONFIG_INVALID', /right/, 'postgres.url'],
      [
        { url: `postgres://vault@127.0.0.1:${await freePort()}/vault` },
        'STORAGE_UNAVAILABLE',
        /cannot be reached/,
        undefined,
      ],
    ] as const) {
      const found = await outcome(section);
      assert.equal(found.code, code, found.message);
      assert.match(found.message, message);
      assert.equal(found.field, field);
      assert.ok(!JSON.stringify(found).includes('wr0ng') && !found.message.includes('wr0ng'));
    }
  });

  it('serves a user with rights on one schema only', async () => {
    assert.equal((await outcome({ url: `postgres://narrow@${at}`, schema: 'own' })).code, 'opened');
    sql(server, 'REVOKE CREATE ON SCHEMA own FROM narrow');
    assert.equal((await outcome({ url: `postgres://narrow@${at}`, schema: 'own' })).code, 'opened');
  });

  it('is not the program’s own connection', async () => {
    const { Pool } = createRequire(__filename)('pg') as {
      Pool: new (options: object) => { end(): Promise<void> };
    };
    const pool = new Pool({ connectionString: server.url });
    for (const section of [pool, { pool }]) {
      const { code, message } = await outcome(section);
      assert.equal(code, 'CONFIG_INVALID');
      assert.match(message, /postgresUrl/);
    }
    await pool.end();
  });
});
