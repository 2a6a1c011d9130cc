import { refuse } from './check.js';
import type { LoggerLike } from './types.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Writes one log event; it never throws. */
export type LogSink = (level: LogLevel, message: string, fields: Record<string, unknown>) => void;

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** A sink that writes to `logger`, or without one its warnings and errors to the console. */
export function logSink(field: string, logger: unknown, debug: boolean): LogSink {
  const write = logger === undefined ? toConsole : toLogger(checked(field, logger));
  return (level, message, fields) => {
    if (level === 'debug' && !debug) {
      return;
    }
    try {
      write(level, `baileys-vault: ${message}`, fields);
    } catch {
      // A logger that throws must not break the write that was being logged.
    }
  };
}

function checked(field: string, logger: unknown): LoggerLike {
  if (typeof logger !== 'object' || logger === null) {
    throw refuse(field, 'a logger with debug, info, warn and error', logger);
  }
  for (const level of LEVELS) {
    if (typeof (logger as Record<string, unknown>)[level] !== 'function') {
      throw refuse(`${field}.${level}`, 'a function', (logger as Record<string, unknown>)[level]);
    }
  }
  return logger as LoggerLike;
}

const toConsole: LogSink = (level, message, fields) => {
  if (level === 'warn' || level === 'error') {
    console[level](message, fields);
  }
};

function toLogger(logger: LoggerLike): LogSink {
  // pino takes the fields first; `child` is what tells it from the others.
  if (typeof (logger as { child?: unknown }).child === 'function') {
    return (level, message, fields) => {
      logger[level](fields, message);
    };
  }
  // A structured logger takes an Error between message and fields, and for errors only.
  const errorTakesError = logger.error.length >= 3;
  return (level, message, fields) => {
    if (level === 'error' && errorTakesError) {
      logger.error(message, undefined, fields);
    } else {
      logger[level](message, fields);
    }
  };
}
