import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { folder } from './resolve.js';

describe('loggers', () => {
  const record = () => {
    const calls: unknown[][] = [];
    const of = (level: string) => (a: unknown, b: unknown) => calls.push([level, a, b]);
    return { calls, logger: { debug: of('debug'), info: of('info'), warn: of('warn'), error: of('error') } };
  };

  it('of the console kind take the message first', () => {
    const { calls, logger } = record();
    folder({ logger }).log('warn', 'hello', { a: 1 });
    assert.deepEqual(calls, [['warn', 'baileys-vault: hello', { a: 1 }]]);
  });

  it('of the pino kind take the fields first', () => {
    const { calls, logger } = record();
    folder({ logger: { ...logger, child() {} } }).log('error', 'hello', { a: 1 });
    assert.deepEqual(calls, [['error', { a: 1 }, 'baileys-vault: hello']]);
  });

  it('of the structured kind take an Error between', () => {
    const calls: unknown[][] = [];
    const { logger } = record();
    const error = (a: unknown, b: unknown, c: unknown) => calls.push([a, b, c]);
    folder({ logger: { ...logger, error } }).log('error', 'hello', { a: 1 });
    assert.deepEqual(calls, [['baileys-vault: hello', undefined, { a: 1 }]]);
  });

  it('hear debug events only where asked for', () => {
    const { calls, logger } = record();
    folder({ logger }).log('debug', 'a', {});
    folder({ logger, security: { enableDebugLogging: true } }).log('debug', 'b', {});
    folder({ security: { logger }, observability: { enableDetailedLogs: true } }).log('debug', 'c', {});
    assert.deepEqual(
      calls.map(([, message]) => message),
      ['baileys-vault: b', 'baileys-vault: c'],
    );
  });

  it('may throw without harm', () => {
    const thrower = () => {
      throw new Error('disk full');
    };
    const logger = { debug: thrower, info: thrower, warn: thrower, error: thrower };
    assert.doesNotThrow(() => folder({ logger }).log('warn', 'hello', {}));
  });
});
