import { type BinaryNode, generateSignalPubKey, getBinaryNodeChild, getBinaryNodeChildren } from 'baileys';
import { verifySignature } from 'libsignal/src/curve.js';

export type { BinaryNode };

/** Builds a stanza; attributes that are undefined are left out. */
export function node(
  tag: string,
  attrs: Record<string, string | undefined> = {},
  content?: BinaryNode['content'],
): BinaryNode {
  const present = Object.entries(attrs).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { tag, attrs: Object.fromEntries(present), ...(content === undefined ? {} : { content }) };
}

export const child = (parent: BinaryNode | undefined, tag: string): BinaryNode | undefined =>
  getBinaryNodeChild(parent, tag);

export const children = (parent: BinaryNode | undefined, tag: string): BinaryNode[] =>
  getBinaryNodeChildren(parent, tag);

/** The first element inside a stanza, whatever its tag. */
export const firstChild = (parent: BinaryNode): BinaryNode | undefined =>
  Array.isArray(parent.content) ? parent.content[0] : undefined;

/** The raw content of a child, or a thrown error naming what is missing. */
export function bytes(parent: BinaryNode | undefined, tag: string): Buffer {
  const content = child(parent, tag)?.content;
  if (!(content instanceof Uint8Array)) throw new Error(`<${parent?.tag}> lacks <${tag}> with bytes`);
  return Buffer.from(content);
}

export const uint = (raw: Uint8Array): number => raw.reduce((value, byte) => value * 256 + byte, 0);

export const unixTime = (): string => Math.floor(Date.now() / 1000).toString();

/** Asks libsignal itself: `Curve.verify` in Baileys drops its answer. `key` is 32 or 33 bytes. */
export const verifies = (key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean =>
  verifySignature(Buffer.from(generateSignalPubKey(key)), message, signature);
