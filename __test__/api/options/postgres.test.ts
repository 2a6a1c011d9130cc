/** Options of PostgreSQL: accepted, refused, and made of parts. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { resolveHybridHook, resolvePostgresHook } from '../../../lib/options/servers.js';
import { hybrid, POSTGRES, postgres, REDIS, refused } from './resolve.js';

const placed = (section: object, options: object = {}) => {
  const { config } = postgres(options, section);
  return config.backend === 'postgres' ? config.postgres : assert.fail();
};
const parts = (section: object) => placed({ postgresUrl: undefined, ...section });
const without = (section: object) => {
  const { config } = resolvePostgresHook({ sessionId: 's', postgres: section });
  return config.backend === 'postgres' ? config.postgres : assert.fail();
};

describe('options of PostgreSQL', () => {
  it('may be a URL, by any of its names', () => {
    for (const name of ['postgresUrl', 'url', 'connectionString', 'databaseUrl', 'uri']) {
      const url = 'postgresql://u:p%40@a:1,b:2/db?target_session_attrs=read-write';
      assert.equal(without({ [name]: url }).url, url, name);
    }
  });

  it('may be parts', () => {
    assert.equal(without({}).url, 'postgres://localhost/');
    assert.equal(
      without({ host: 'db.example', port: '5433', user: 'me@x', password: 'p/w', database: 'a b' }).url,
      'postgres://me%40x:p%2Fw@db.example:5433/a%20b',
    );
    assert.equal(
      without({ host: '/run/postgresql', port: 5433, database: 'app' }).url,
      'postgres:///app?host=%2Frun%2Fpostgresql&port=5433',
    );
    assert.equal(without({ host: '::1' }).url, 'postgres://[::1]/');
  });

  it('may complete a URL, and not contradict it', () => {
    assert.equal(
      placed({ user: 'u', password: 'p', database: 'd', applicationName: 'bots' }).url,
      'postgres://u:p@localhost:5432/d?application_name=bots',
    );
    for (const [section, field] of [
      [{ host: 'h' }, 'postgres.host'],
      [{ port: 1 }, 'postgres.port'],
      [{ postgresUrl: 'postgres://a@h/x', user: 'b' }, 'postgres.user'],
      [{ postgresUrl: 'postgres://a@h/x', database: 'y' }, 'postgres.database'],
      [
        { postgresUrl: 'postgres://h/x?application_name=a', applicationName: 'b' },
        'postgres.applicationName',
      ],
      [{ postgresUrl: 'postgres://h/x?sslmode=disable', tls: true }, 'postgres.tls'],
    ] as const) {
      assert.equal(refused(() => placed(section)).field, field);
    }
  });

  it('say how to encrypt where the URL does not', () => {
    assert.match(placed({ tls: true }).url, /\?sslmode=verify-full$/);
    assert.match(placed({ ssl: false }).url, /\?sslmode=disable$/);
    assert.match(placed({}, { enableTls: true }).url, /\?sslmode=verify-full$/);
    const lax = placed({ ssl: { rejectUnauthorized: false } });
    assert.match(lax.url, /\?sslmode=require$/);
    assert.deepEqual(lax.tls, { insecure: true });
    assert.equal(
      placed({ postgresUrl: 'postgres://h/d?sslmode=require', tls: true }).url,
      'postgres://h/d?sslmode=require',
    );
  });

  it('have a schema and a number of connections', () => {
    const { schema, maxConnections } = placed({ schema: 'bots', maxConnections: '4' });
    assert.deepEqual({ schema, maxConnections }, { schema: 'bots', maxConnections: 4 });
    for (const section of [
      { schema: 'pg_mine' },
      { schema: 'x'.repeat(64) },
      { schema: '' },
      { maxConnections: 0 },
      { maxConnections: 101 },
    ]) {
      const [name] = Object.keys(section);
      assert.equal(refused(() => placed(section)).field, `postgres.${name}`);
    }
  });

  it('that are named but empty are no wish for another server', () => {
    for (const section of [
      { postgresUrl: undefined },
      { url: '' },
      { host: '' },
      { database: undefined, host: 'h' },
    ]) {
      assert.match(refused(() => without(section)).message, /named but empty/);
    }
    assert.match(refused(() => parts({})).message, /named but empty/);
  });

  it('of pg that change nothing are noted', () => {
    const { notices } = postgres({}, { max: 20, idleTimeoutMillis: 1, statement_timeout: 5 });
    assert.match(
      notices.join(),
      /postgres\.max \(see maxConnections.*postgres\.idleTimeoutMillis.*statement_timeout/,
    );
  });

  it('that are a connection of the program’s own are refused, naming the option to give', () => {
    class Pool {
      options = { host: 'h' };
      query(): void {}
      connect(): void {}
    }
    const prisma = new Proxy({}, { get: (_, name) => (name === '$connect' ? () => {} : undefined) });
    for (const client of [new Pool(), prisma, { $queryRaw() {} }]) {
      for (const options of [client, { pool: client }, { client }, { prisma: client }]) {
        const error = refused(() => resolvePostgresHook({ sessionId: 's', postgres: options }));
        assert.match(error.message, /postgresUrl/);
        assert.match(error.field, /^postgres(\.|$)/);
      }
    }
  });

  it('that are unknown are refused by name', () => {
    assert.match(refused(() => placed({ postgresurl: 'x' })).message, /did you mean postgresUrl/);
    assert.match(refused(() => placed({ tableName: 'auth' })).message, /schema/);
    assert.match(refused(() => placed({ postgresUrl: 'mysql://h' })).message, /postgres:\/\//);
  });
});

describe('options of hybrid mode over PostgreSQL', () => {
  const both = (section: object) => {
    const { config } = resolveHybridHook({
      sessionId: 's',
      hybrid: { redisUrl: REDIS, postgresUrl: POSTGRES, ...section },
    });
    return config.backend === 'hybrid' ? config : assert.fail();
  };

  it('name the primary', () => {
    const config = both({ postgresSchema: 'bots', outboxWhenPostgresDown: true });
    assert.equal(config.mongodb, undefined);
    assert.equal(config.postgres?.schema, 'bots');
    assert.equal(config.hybrid.outboxWhenMongoDown, true);
    const { config: mongo } = hybrid();
    assert.ok(mongo.backend === 'hybrid' && mongo.postgres === undefined);
  });

  it('name one primary alone, and the outbox of that one', () => {
    assert.equal(refused(() => both({ mongoUrl: 'mongodb://h' })).field, 'hybrid.mongoUrl');
    assert.equal(refused(() => both({ outboxWhenMongoDown: true })).field, 'hybrid.outboxWhenMongoDown');
    assert.equal(
      refused(() => hybrid({ outboxWhenPostgresDown: true })).field,
      'hybrid.outboxWhenPostgresDown',
    );
  });
});
