/** What happens to acknowledged writes while PostgreSQL, or what stands in front of it, fails. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  describeWith,
  promote,
  type Server,
  sql,
  startPgBouncer,
  startPostgres,
  startRedis,
  until,
} from '../support/services.js';
import { Load, opening } from './load.js';
import type { Mode, Place } from './open.mjs' with { 'resolution-mode': 'import' };

const SESSIONS = 20;
/** Longer than any operation with its retries, in ms. */
const OUTAGE_MS = 4_000;
const SCHEMA = 'faults';

const rows: string[] = [];

function note(fault: string, load: Load, lost: number): void {
  const { acknowledged, longestWait, place } = load;
  rows.push(
    `${fault} | ${place.mode} | ${acknowledged} | ${lost} | ${longestWait} | ${JSON.stringify(load.codes())}`,
  );
}

const at = (url: string, mode: Mode = 'postgres', redisUrl = ''): Place => ({
  mode,
  redisUrl,
  mongoUrl: '',
  postgresUrl: url,
  database: SCHEMA,
});

const start = (t: TestContext, place: Place): Promise<Load> => Load.start(t, place, { sessions: SESSIONS });

/** What has to hold after every fault; the load is stopped or dead. */
async function settle(fault: string, load: Load, place = load.place): Promise<void> {
  const lost = await load.countLost(place);
  note(fault, load, lost);
  load.expectTyped();
  assert.equal(lost, 0, `${load.place.mode}: acknowledged writes are gone`);
  const limit = 3 * (await opening()).OPERATION_TIMEOUT;
  assert.ok(load.longestWait <= limit, `a write took ${load.longestWait} ms`);
}

after(() =>
  console.log(['fault | mode | acknowledged | lost | longest wait, ms | refused', ...rows].join('\n')),
);

describeWith(['redis', 'postgres'], 'a PostgreSQL server that fails', () => {
  let redis: Server;
  let server: Server;

  before(async () => {
    [redis, server] = await Promise.all([startRedis({ persist: true }), startPostgres()]);
  });
  afterEach(async () => {
    for (const each of [redis, server]) if (!each.running) await each.restart();
  });
  after(() => Promise.all([redis.stop(), server.stop()]));

  const loads = async (t: TestContext): Promise<Load[]> => {
    const all: Load[] = [];
    for (const mode of ['postgres', 'postgres-through', 'postgres-behind'] as const) {
      all.push(
        await start(t, {
          ...at(server.url, mode, redis.url),
          database: `${SCHEMA}_${mode.replace('-', '_')}`,
        }),
      );
    }
    return all;
  };

  it('is killed and comes back', async (t) => {
    const all = await loads(t);
    await server.kill();
    await sleep(OUTAGE_MS);
    const [alone, , behind] = all as [Load, Load, Load];
    await alone.until('writes are refused', () => alone.failures.length > 0);
    assert.deepEqual(behind.codes(), {}, 'the outbox goes on');
    await server.restart();
    for (const load of all) await load.goesOn();
    for (const load of all) await load.stop();
    for (const load of all) await settle('server killed', load);
  });

  it('has its connections ended, again and again', async (t) => {
    const all = await loads(t);
    const end = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()`;
    for (let round = 0; round < 20; round++) {
      sql(server, end);
      await sleep(100);
    }
    for (const load of all) await load.goesOn();
    for (const load of all) await load.stop();
    for (const load of all) await settle('connections ended', load);
  });

  it('loses the process behind a connection to kill -9, which takes all others with it', async (t) => {
    const all = await loads(t);
    const pid = Number(
      sql(server, "SELECT pid FROM pg_stat_activity WHERE application_name = 'baileys-vault' LIMIT 1"),
    );
    process.kill(pid, 'SIGKILL');
    for (const load of all) await load.goesOn();
    for (const load of all) await load.stop();
    for (const load of all) await settle('backend killed', load);
  });

  it('dies with the process that wrote to it', async (t) => {
    const load = await start(t, at(server.url));
    await sleep(500);
    await load.crash();
    await server.kill();
    await server.restart();
    await settle('process and server killed', load);
  });

  for (const mode of ['postgres', 'postgres-through', 'postgres-behind'] as const) {
    it(`refuses a process that slept through the end of its lease: ${mode}`, async (t) => {
      const { openPatiently: open } = await opening();
      const place = {
        ...at(server.url, mode, redis.url),
        database: `sleeps_${mode.replace('-', '_')}`,
        lockTtl: 1,
      };
      const load = await Load.start(t, place, { sessions: 1, openTimeout: 1_000 });
      const [session] = load.sessions as [string];
      load.signal('SIGSTOP');
      const { state, store } = await open(place, session);
      const { acknowledged } = load;
      await state.keys.set({ session: { later: { seq: 1 } as never } });
      const before = await store.get(session);
      load.signal('SIGCONT');
      const fenced = () => load.failures.some(({ code }) => code === 'FENCED');
      await load.until('its writes are refused', fenced);
      await load.until('it hears that its lease is lost', () => load.lost.has(session));
      await load.stop();
      assert.deepEqual(await state.keys.get('session', ['later']), { later: { seq: 1 } });
      assert.equal((await store.get(session))?.version, before?.version);
      // At most the write whose answer was on its way when the process was stopped.
      assert.ok(load.acknowledged <= acknowledged + 1);
      await store.close();
      await settle('owner slept', load);
    });
  }

  for (const sealed of [true, false]) {
    it(`sees ${sealed ? 'nothing of a key when records are sealed' : 'keys when they are not'}`, async () => {
      const { openPatiently: open, MASTER_KEY } = await opening();
      const database = `plain_${sealed}`;
      const { state, saveCreds, store } = await open({ ...at(server.url), database, sealed }, 'secrets');
      await saveCreds();
      const secret = randomBytes(32);
      await state.keys.set({ 'pre-key': { 1: { public: secret, private: secret } } });
      const identity = Buffer.from(state.creds.signedIdentityKey.private);
      await store.close();
      const dump = spawnSync('pg_dump', ['--inserts', '-n', database, server.url], {
        encoding: 'utf8',
      }).stdout;
      assert.match(dump, /INSERT INTO plain_\w+\.vault_record/);
      for (const bytes of [secret, identity]) {
        // Unsealed, it is found: so the search would find it.
        assert.equal(dump.includes(bytes.toString('hex')), !sealed);
      }
      assert.ok(!dump.includes(MASTER_KEY));
    });
  }

  it('warns of settings by which acknowledged writes may be lost, and stands behind no outbox then', async (t) => {
    const { vault } = await opening();
    const lax = await startPostgres({ config: { synchronous_commit: 'off', fsync: 'off' } });
    t.after(() => lax.stop());
    const heard: string[] = [];
    const quiet = (): void => {};
    const logger = { debug: quiet, info: quiet, warn: (text: string) => void heard.push(text), error: quiet };
    const { store } = await vault.usePostgresAuthState({
      sessionId: 's',
      logger,
      postgres: { postgresUrl: lax.url },
    });
    await store.close();
    assert.match(heard.join(), /fsync off.*synchronous_commit off/);
    await assert.rejects(
      vault.useHybridAuthState({
        sessionId: 's',
        logger,
        hybrid: { redisUrl: redis.url, postgresUrl: lax.url, enableWriteBehind: true },
      }),
      { code: 'CONFIG_INVALID', message: /synchronous_commit/ },
    );
  });

  it('is short of connections', async (t) => {
    sql(server, 'CREATE ROLE bot LOGIN; GRANT CREATE ON DATABASE vault TO bot');
    const url = server.url.replace('vault@', 'bot@');
    const load = await start(t, { ...at(url), database: 'short' });
    // What it has is taken away, and there is no other to be had.
    sql(server, 'ALTER ROLE bot CONNECTION LIMIT 0');
    sql(server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bot'");
    await load.until('writes are refused', () => load.failures.length > SESSIONS);
    assert.ok(
      load.failures.every(({ code }) => ['STORAGE_UNAVAILABLE', 'TIMEOUT', 'CIRCUIT_OPEN'].includes(code)),
      JSON.stringify(load.codes()),
    );
    sql(server, 'ALTER ROLE bot CONNECTION LIMIT -1');
    await load.goesOn();
    await load.stop();
    await settle('no connection left', load);
  });

  it('has a full disk', { skip: process.getuid?.() !== 0 && 'needs to mount a file system' }, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'vault-disk-'));
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=160m,mode=0777', 'tmpfs', folder]);
    if (mounted.status !== 0) {
      t.skip('file systems cannot be mounted here');
      return;
    }
    const small = await startPostgres({ dir: join(folder, 'server') });
    t.after(async () => {
      await small.stop();
      spawnSync('umount', ['-l', folder]);
      rmSync(folder, { recursive: true, force: true });
    });
    const load = await start(t, at(small.url));
    const filler = join(folder, 'filler');
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M']);
    // What others write fills what is left inside of the server's own files.
    try {
      for (;;)
        sql(
          small,
          'CREATE TABLE IF NOT EXISTS fill (x text); INSERT INTO fill SELECT repeat(md5(random()::text), 250) FROM generate_series(1, 200)',
        );
    } catch {
      // Full.
    }
    await load.until('writes are refused', () => load.failures.length > SESSIONS);
    assert.ok(
      load.failures.every(({ code }) =>
        ['STORAGE_FULL', 'STORAGE_UNAVAILABLE', 'TIMEOUT', 'CIRCUIT_OPEN'].includes(code),
      ),
      JSON.stringify(load.codes()),
    );
    spawnSync('rm', ['-f', filler]);
    if (!small.running) await small.restart();
    await load.goesOn();
    await load.stop();
    await settle('disk full', load);
  });
});

describeWith('postgres', 'a PostgreSQL server with a standby', () => {
  for (const synchronous of [true, false]) {
    it(`is killed, and the ${synchronous ? 'synchronous' : 'asynchronous'} standby takes over`, async (t) => {
      const { openPatiently: open } = await opening();
      const primary = await startPostgres();
      t.after(() => primary.stop());
      const standby = await startPostgres({
        standbyOf: { server: primary, name: 'second' },
        config: { synchronous_standby_names: '' },
      });
      t.after(() => standby.stop());
      if (synchronous) {
        sql(primary, "ALTER SYSTEM SET synchronous_standby_names = 'second'");
        sql(primary, 'SELECT pg_reload_conf()');
        await until(
          'the standby is synchronous',
          async () => sql(primary, 'SELECT sync_state FROM pg_stat_replication') === 'sync',
        );
      }
      const both = `postgres://vault@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/vault`;
      const place = at(`${both}?target_session_attrs=read-write`);
      const load = await start(t, place);
      if (synchronous) {
        await load.goesOn();
        await primary.kill();
        promote(standby);
        await load.goesOn();
        await load.stop();
        await settle('primary killed, synchronous standby promoted', load, at(standby.url));
        return;
      }
      await load.goesOn();
      // From here on the standby gets nothing any more: what is acknowledged now is lost with the primary.
      sql(standby, "ALTER SYSTEM SET primary_conninfo = ''");
      sql(standby, 'SELECT pg_reload_conf()');
      await until(
        'the standby is cut off',
        async () => sql(primary, 'SELECT count(*) FROM pg_stat_replication') === '0',
      );
      const [session] = load.sessions as [string];
      const tokenOf = (server: Server): number =>
        Number(sql(server, `SELECT token FROM ${SCHEMA}.vault_session WHERE id = '${session}'`));
      await load.goesOn();
      const before = tokenOf(primary);
      await primary.kill();
      promote(standby);
      // Owners whose writes the new primary does not have are refused, and build nothing on them.
      const refused = (): number =>
        new Set(
          load.failures
            .filter(({ code }) => code === 'SESSION_LOST' || code === 'FENCED')
            .map(({ session }) => session),
        ).size;
      await load.until('every session is refused', () => refused() === SESSIONS);
      const { acknowledged } = load;
      const seen = load.failures.length;
      await load.until('more is refused', () => load.failures.length > seen + SESSIONS);
      assert.equal(
        load.acknowledged,
        acknowledged,
        'a write was acknowledged on a timeline without the session',
      );
      await load.crash();
      load.expectTyped();
      const { store } = await open(at(standby.url), session);
      assert.ok(tokenOf(standby) > before, 'the fence went back');
      await store.close();
      const lost = await load.countLost(at(standby.url));
      note('primary killed, asynchronous standby behind', load, lost);
      assert.ok(lost > 0, 'the standby was not behind');
    });
  }

  it('is a standby alone: nothing is opened there', async (t) => {
    const { vault } = await opening();
    const primary = await startPostgres();
    t.after(() => primary.stop());
    const standby = await startPostgres({ standbyOf: { server: primary, name: 'second' } });
    t.after(() => standby.stop());
    await assert.rejects(
      vault.usePostgresAuthState({
        sessionId: 's',
        openTimeout: 500,
        logger: { debug() {}, info() {}, warn() {}, error() {} },
        postgres: { postgresUrl: standby.url },
      }),
      { code: 'STORAGE_UNAVAILABLE', message: /is a standby/ },
    );
  });
});

describeWith(['postgres', 'pgbouncer'], 'PgBouncer in transaction mode', () => {
  it('is restarted again and again', async (t) => {
    const server = await startPostgres();
    t.after(() => server.stop());
    const bouncer = await startPgBouncer(server);
    t.after(() => bouncer.stop());
    const load = await start(t, at(bouncer.url));
    for (let round = 0; round < 3; round++) {
      await bouncer.kill();
      await sleep(300);
      await bouncer.restart();
      await load.goesOn();
    }
    await load.stop();
    await settle('PgBouncer restarted', load);
  });

  it('loses the server behind it, which comes back', async (t) => {
    const server = await startPostgres();
    t.after(() => server.stop());
    const bouncer = await startPgBouncer(server);
    t.after(() => bouncer.stop());
    const load = await start(t, at(bouncer.url));
    await server.kill();
    await sleep(OUTAGE_MS / 2);
    await server.restart();
    await load.goesOn();
    await load.stop();
    await settle('server behind PgBouncer killed', load);
  });
});
