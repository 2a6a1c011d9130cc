import { type Progress, startProgress } from './progress.js';
import { type Style, styleFor } from './style.js';

/** Where a command writes: its result to stdout, everything else to stderr. */
export class Output {
  readonly out: Style;
  readonly err: Style;

  constructor(
    /** One JSON document on stdout, and errors as JSON too. */
    readonly json: boolean,
    private readonly stdout: NodeJS.WriteStream = process.stdout,
    private readonly stderr: NodeJS.WriteStream = process.stderr,
  ) {
    this.out = styleFor(stdout);
    this.err = styleFor(stderr);
  }

  print(text: string): void {
    this.stdout.write(text === '' || text.endsWith('\n') ? text : `${text}\n`);
  }

  /** Something that people should know and machines need not parse. */
  note(text: string): void {
    this.stderr.write(`${text}\n`);
  }

  warn(text: string): void {
    this.note(`${this.err('yellow', 'warning:')} ${text}`);
  }

  /** A bar on a terminal; nothing where nobody looks. */
  progress(what: string, total: number): Progress {
    return startProgress(this.stderr, this.err, what, total, this.json);
  }
}
