/**
 * What the core does for a write in Redis, written in JavaScript: BufferJSON, AES-256-GCM by node:crypto, and a script
 * that checks the fencing token, counts the version and stores the patch. The least that gives the same guarantees.
 */
import { createCipheriv, randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Baileys, Patch } from '../support/packages.js';

const FENCED_WRITE = `
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return redis.error_reply('FENCED')
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return redis.call('HINCRBY', KEYS[1], 'version', 1)`;

interface WithCommand {
  fencedWrite(key: string, ...args: (string | Buffer)[]): Promise<number>;
}

/** Teaches a connection the script; sessions on it are opened with what this returns. */
export function jsGuarantees(redis: Redis, { BufferJSON }: Baileys, masterKey: Buffer) {
  redis.defineCommand('fencedWrite', { numberOfKeys: 1, lua: FENCED_WRITE });
  const { fencedWrite } = redis as unknown as WithCommand;

  const seal = (name: string, value: unknown): Buffer => {
    const nonce = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', masterKey, nonce);
    cipher.setAAD(Buffer.from(name));
    const text = JSON.stringify(value, BufferJSON.replacer);
    return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  };

  return async (sessionId: string) => {
    const key = `js:{${sessionId}}`;
    const token = String(await redis.hincrby(key, 'token', 1));
    return {
      set: (patch: Patch): Promise<number> => {
        const fields: (string | Buffer)[] = [];
        for (const [type, records] of Object.entries(patch)) {
          for (const [id, value] of Object.entries(records ?? {})) {
            const name = `${type}:${id}`;
            fields.push(name, seal(`${sessionId}:${name}`, value));
          }
        }
        return fencedWrite.call(redis, key, token, ...fields);
      },
    };
  };
}
