/** Projects as users have them: a folder with packages installed and a program. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export const ROOT = join(__dirname, '..', '..');
export const PROGRAMS = join(__dirname, 'programs');

/** Every Baileys that the tests have, by the name under which it is installed here. */
export const VERSIONS = {
  'baileys-6': '6.7.21',
  'baileys-rc4': '7.0.0-rc.4',
  'baileys-rc9': '7.0.0-rc.9',
  baileys: '7.0.0-rc14',
} as const;

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A folder of its own, removed by `remove`. */
export class Project {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'vault-project-')));

  /** Links a package of this repository's `node_modules`, or of another folder, in under a name. */
  link(name: string, target: string = join(ROOT, 'node_modules', name)): this {
    const path = join(this.folder, 'node_modules', name);
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(target, path);
    return this;
  }

  /** Links this package in, as `npm link` does. */
  linkVault(): this {
    return this.link('baileys-vault', ROOT);
  }

  /** Copies this package in, so that what it imports is found in this project and not in the repository. */
  copyVault(): this {
    const folder = join(this.folder, 'node_modules', 'baileys-vault');
    for (const part of ['package.json', 'dist', findAddon().name]) {
      cpSync(join(ROOT, part), join(folder, part), { recursive: true });
    }
    return this;
  }

  /** Packs this package and installs the tarball, as users get it. */
  installVault(): this {
    const packed = npm(['pack', '--json', '--pack-destination', this.folder], ROOT);
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    this.write('package.json', '{"private":true,"type":"module"}');
    npm(['install', '--offline', '--no-audit', '--no-fund', join(this.folder, filename)], this.folder);
    return this;
  }

  write(file: string, content: string): string {
    const path = join(this.folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** Runs Node in the folder until it ends. */
  async run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    // The test runner's own word to its children, which would keep a runner in the project from running.
    const { NODE_TEST_CONTEXT, NODE_OPTIONS, ...outside } = process.env;
    const child = spawn(process.execPath, args, {
      cwd: this.folder,
      env: { ...outside, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended: Ended = { code: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      ended.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      ended.stderr += text;
    });
    [ended.code] = (await once(child, 'close')) as [number | null];
    return ended;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function npm(args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync('npm', args, {
    cwd,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (status !== 0) {
    throw new Error(`npm ${args.join(' ')} failed: ${stderr}`);
  }
  return stdout;
}

/** The native core that was built here. */
export function findAddon(): { path: string; name: string } {
  const name = readdirSync(ROOT).find((file) => file.endsWith('.node'));
  if (name === undefined) throw new Error('there is no native core: npm run build:native');
  return { path: join(ROOT, name), name };
}
