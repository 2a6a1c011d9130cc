import type { Style } from './style.js';
import { duration } from './text.js';

/** Long work under way. */
export interface Progress {
  step(by?: number): void;
  end(): void;
}

const NONE: Progress = { step: () => {}, end: () => {} };
const BAR = 24;
/** Milliseconds between two drawings; more often, and a terminal at the far end of a slow line cannot follow. */
const PAUSE = 100;

/** A bar with rate and remaining time, if `stream` is a terminal. */
export function startProgress(
  stream: NodeJS.WriteStream,
  style: Style,
  what: string,
  total: number,
  quiet: boolean,
): Progress {
  if (quiet || !stream.isTTY || total === 0) {
    return NONE;
  }
  const start = performance.now();
  let done = 0;
  let drawn = 0;
  const draw = (): void => {
    drawn = performance.now();
    stream.write(`\r${render(style, what, done, total, (drawn - start) / 1000)}\u001b[K`);
  };
  draw();
  return {
    step: (by = 1) => {
      done += by;
      if (performance.now() - drawn >= PAUSE) {
        draw();
      }
    },
    end: () => {
      stream.write('\r\u001b[K');
    },
  };
}

/** One line: bar, share, count, rate and the time that is left. */
export function render(style: Style, what: string, done: number, total: number, seconds: number): string {
  const share = Math.min(1, done / total);
  const filled = Math.round(share * BAR);
  const bar = style('cyan', '█'.repeat(filled)) + style('dim', '░'.repeat(BAR - filled));
  const rate = seconds > 0 ? done / seconds : 0;
  const left = rate > 0 ? `, ${duration((total - done) / rate)} left` : '';
  const speed = rate > 0 ? ` ${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s${left}` : '';
  return `${what} ${bar} ${String(Math.floor(share * 100)).padStart(3)}% ${done}/${total}${speed}`;
}
