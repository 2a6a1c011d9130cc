import { ValueError } from '../../errors.js';

/**
 * Writes a value as Baileys' `BufferJSON.replacer` does.
 *
 * @throws ValueError naming what JSON cannot hold
 */
export function writeBufferJson(value: unknown, path: string, indent?: number): string {
  return JSON.stringify(value, replacer(path), indent);
}

const replacer = (path: string) =>
  function (this: unknown, key: string, value: unknown): unknown {
    // A Buffer's own toJSON has made an array of numbers of it by now.
    const own = (this as Record<string, unknown>)[key];
    if (ArrayBuffer.isView(own)) {
      const bytes = Buffer.from(own.buffer, own.byteOffset, own.byteLength);
      return { type: 'Buffer', data: bytes.toString('base64') };
    }
    if (typeof value === 'bigint') {
      throw new ValueError(path, 'holds a bigint, which JSON and Baileys’ own files cannot');
    }
    return value;
  };
