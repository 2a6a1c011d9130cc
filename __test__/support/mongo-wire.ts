/** Reads the commands that clients of MongoDB send, from the bytes on their connections. */
import { BSON } from 'mongodb';
import type { FaultProxy } from './proxy';

/** `update` on `vault_sessions`, say. */
export interface Command {
  readonly name: string;
  /** What the command's name stands for: a collection, or a number where there is none. */
  readonly target: unknown;
}

const HEADER_BYTES = 16;
const FLAGS_BYTES = 4;
const OP_MSG = 2013;
const BODY = 0;

/** The command of a whole message, if it has one: drivers greet servers in an older form. */
function commandOf(message: Buffer): Command | undefined {
  if (message.readInt32LE(12) !== OP_MSG) return undefined;
  for (let at = HEADER_BYTES + FLAGS_BYTES; at + 1 < message.length; ) {
    const size = message.readInt32LE(at + 1);
    if (message[at] === BODY) {
      const body = BSON.deserialize(message.subarray(at + 1, at + 1 + size));
      const [first] = Object.entries(body);
      return first === undefined ? undefined : { name: first[0], target: first[1] };
    }
    at += 1 + size;
  }
  return undefined;
}

/** Tells `heard` of every command that goes through the proxy from now on, on connections that are made from now on. */
export function hearCommands(proxy: Pick<FaultProxy, 'listen'>, heard: (command: Command) => void): void {
  const rests = new Map<number, Buffer>();
  proxy.listen((connection, packet) => {
    let bytes = Buffer.concat([rests.get(connection) ?? Buffer.alloc(0), packet]);
    while (bytes.length >= HEADER_BYTES && bytes.length >= bytes.readInt32LE(0)) {
      const length = bytes.readInt32LE(0);
      const command = commandOf(bytes.subarray(0, length));
      if (command !== undefined) heard(command);
      bytes = bytes.subarray(length);
    }
    rests.set(connection, bytes);
  });
}
