import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { findProgram, outputOf } from './programs';
import { scratchDir } from './reaper';
import { Server, type ServerPlace, type ServerSpec } from './server';

/** Who the tests are, and the database they have. */
const USER = 'vault';
const DATABASE = 'vault';
/** Where Debian puts the programs of each release: not on the path. */
const DEBIAN = '/usr/lib/postgresql';

/** Folder of the newest release's programs, if there is one. */
export function postgresFolder(): string | undefined {
  if (existsSync(DEBIAN)) {
    const releases = readdirSync(DEBIAN)
      .filter((release) => existsSync(join(DEBIAN, release, 'bin/initdb')))
      .sort((one, other) => Number(other) - Number(one));
    if (releases[0] !== undefined) return join(DEBIAN, releases[0], 'bin');
  }
  const initdb = findProgram('initdb');
  return initdb === undefined ? undefined : join(initdb, '..');
}

function program(name: string): string {
  const folder = postgresFolder();
  if (folder === undefined) throw new Error('no PostgreSQL server is installed');
  return join(folder, name);
}

/** The server refuses to run as root; then it runs as the user that its package made, or as nobody. */
let other: { uid: number; gid: number } | null | undefined;
function runner(): { uid: number; gid: number } | undefined {
  if (other === undefined) {
    const user = ['postgres', 'nobody'].find((name) => outputOf('id', '-u', name) !== undefined);
    const id = (flag: string): number => Number(outputOf('id', flag, user as string));
    other = process.getuid?.() === 0 && user !== undefined ? { uid: id('-u'), gid: id('-g') } : null;
  }
  return other ?? undefined;
}

/** `command` as whoever may run the server. */
function asRunner(command: string, args: readonly string[]): [string, string[]] {
  const user = runner();
  if (user === undefined) return [command, [...args]];
  const identity = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
  return ['setpriv', [...identity, '--', command, ...args]];
}

function run(command: string, ...args: string[]): void {
  const [file, rest] = asRunner(command, args);
  const done = spawnSync(file, rest, { encoding: 'utf8', cwd: '/', timeout: 120_000 });
  if (done.status !== 0) throw new Error(`${command} failed: ${done.error ?? done.stderr}${done.stdout}`);
}

/** A folder that the server's user may write, wherever it is. */
function ownFolder(dir: string): void {
  mkdirSync(dir, { recursive: true });
  const user = runner();
  if (user !== undefined) {
    chmodSync(scratchDir(), 0o711);
    chownSync(dir, user.uid, user.gid);
  }
}

/** How a server is set up. */
export interface PostgresOptions extends ServerPlace {
  /** Lines of `postgresql.conf`. */
  readonly config?: Readonly<Record<string, string>>;
  /** A standby of this server, called so there. */
  readonly standbyOf?: { readonly server: Server; readonly name: string };
}

/** A database folder, made once for each process and copied from there: `initdb` takes a while. */
let template: string | undefined;
function makeData(data: string): void {
  if (template === undefined) {
    const made = join(scratchDir(), 'postgres-template');
    ownFolder(made);
    run(
      program('initdb'),
      '-D',
      join(made, 'data'),
      '-A',
      'trust',
      '-U',
      USER,
      '-E',
      'UTF8',
      '--locale=C',
      '--no-sync',
    );
    template = join(made, 'data');
  }
  run('cp', '-a', template, data);
}

/** A first message that the server answers with an error once it takes connections, or with its state before that. */
async function answers(port: number): Promise<boolean> {
  const body = Buffer.from(`user\0${USER}\0database\0${DATABASE}\0\0`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(8 + body.length, 0);
  head.writeUInt32BE(0x30000, 4);
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write(Buffer.concat([head, body]));
    const [answer] = (await once(socket, 'data', { signal: AbortSignal.timeout(2_000) })) as [Buffer];
    // 57P03: it is starting up.
    return !answer.includes('57P03');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Waits until nothing works in a folder any more: the processes of a killed server end a little after it. */
function gone(data: string): void {
  const works = (pid: string): boolean => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === data;
    } catch {
      return false;
    }
  };
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; tries < 500 && existsSync('/proc'); tries++) {
    if (!readdirSync('/proc').some((pid) => /^\d+$/.test(pid) && works(pid))) return;
    Atomics.wait(pause, 0, 0, 20);
  }
}

function postgresSpec(options: PostgresOptions): ServerSpec {
  const [command, before] = asRunner(program('postgres'), []);
  const { standbyOf } = options;
  return {
    name: 'postgres',
    command,
    stopSignal: 'SIGINT',
    ready: answers,
    url: (host, port) => `postgres://${USER}@${host}:${port}/${DATABASE}`,
    arguments: ({ port, dir }) => {
      const data = join(dir, 'data');
      if (!existsSync(data)) {
        ownFolder(dir);
        if (standbyOf === undefined) {
          makeData(data);
        } else {
          const from = `host=127.0.0.1 port=${standbyOf.server.port} user=${USER} application_name=${standbyOf.name}`;
          run(
            program('pg_basebackup'),
            '-D',
            data,
            '-d',
            from,
            '-R',
            '-X',
            'stream',
            '-c',
            'fast',
            '--no-sync',
          );
        }
        const settings = {
          listen_addresses: '127.0.0.1',
          unix_socket_directories: '',
          max_connections: '100',
          shared_buffers: '32MB',
          logging_collector: 'off',
          ...options.config,
        };
        const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
        appendFileSync(join(data, 'postgresql.auto.conf'), lines.join(''));
      }
      gone(data);
      // What a killed server leaves; its process is known to be gone.
      rmSync(join(data, 'postmaster.pid'), { force: true });
      return [...before, '-D', data, '-p', String(port)];
    },
  };
}

/** Runs SQL in `psql` as the tests' user; what it prints, columns apart by `|`. */
export function sql(server: { readonly port: number }, statement: string, database = DATABASE): string {
  const args = [
    '-h',
    '127.0.0.1',
    '-p',
    String(server.port),
    '-U',
    USER,
    '-d',
    database,
    '-XAtq',
    '-v',
    'ON_ERROR_STOP=1',
  ];
  const done = spawnSync(program('psql'), [...args, '-c', statement], { encoding: 'utf8', timeout: 60_000 });
  if (done.status !== 0) throw new Error(`psql: ${done.error ?? done.stderr}`);
  return done.stdout.trim();
}

/** Starts one PostgreSQL server with an empty database. Acknowledged writes survive `kill`. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Server> {
  const server = await Server.start(postgresSpec(options), options);
  if (
    options.standbyOf === undefined &&
    sql(server, `SELECT 1 FROM pg_database WHERE datname = '${DATABASE}'`, 'postgres') === ''
  ) {
    sql(server, `CREATE DATABASE ${DATABASE}`, 'postgres');
  }
  return server;
}

/** Makes a standby take writes, and waits until it does. */
export function promote(standby: Server): void {
  run(program('pg_ctl'), 'promote', '-D', join(standby.dir, 'data'), '-w', '-t', '60');
}

/** Starts PgBouncer in transaction mode in front of `server`. */
export function startPgBouncer(
  server: { readonly port: number },
  settings: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const bouncer = findProgram('pgbouncer') ?? '/usr/sbin/pgbouncer';
  const [command, before] = asRunner(bouncer, []);
  return Server.start({
    name: 'pgbouncer',
    command,
    ready: answers,
    url: (host, port) => `postgres://${USER}@${host}:${port}/${DATABASE}`,
    arguments: ({ port, dir }) => {
      ownFolder(dir);
      const file = join(dir, 'pgbouncer.ini');
      const users = join(dir, 'users.txt');
      writeFileSync(users, `"${USER}" ""\n`);
      const all = {
        listen_addr: '127.0.0.1',
        listen_port: String(port),
        unix_socket_dir: '',
        auth_type: 'trust',
        auth_file: users,
        pool_mode: 'transaction',
        default_pool_size: '4',
        max_client_conn: '500',
        ...settings,
      };
      const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`);
      const databases = `* = host=127.0.0.1 port=${server.port}`;
      writeFileSync(file, `[databases]\n${databases}\n[pgbouncer]\n${lines.join('\n')}\n`);
      return [...before, file];
    },
  });
}
