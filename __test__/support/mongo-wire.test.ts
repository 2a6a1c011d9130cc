import assert from 'node:assert/strict';
import { it } from 'node:test';
import { BSON } from 'mongodb';
import { type Command, hearCommands } from './mongo-wire';
import type { Listener } from './proxy';

const OP_MSG = 2013;
const OP_QUERY = 2004;

function message(opCode: number, ...parts: Buffer[]): Buffer {
  const header = Buffer.alloc(20);
  const body = Buffer.concat([header, ...parts]);
  body.writeInt32LE(body.length, 0);
  body.writeInt32LE(opCode, 12);
  return body;
}

const command = (document: object): Buffer => Buffer.concat([Buffer.of(0), BSON.serialize(document)]);

function sequence(name: string, ...documents: object[]): Buffer {
  const content = Buffer.concat([
    Buffer.from(`${name}\0`),
    ...documents.map((document) => BSON.serialize(document)),
  ]);
  const section = Buffer.concat([Buffer.of(1), Buffer.alloc(4), content]);
  section.writeInt32LE(content.length + 4, 1);
  return section;
}

it('hears commands in whatever packets they come, and whatever stands before them', () => {
  const heard: Command[] = [];
  let tell: Listener = () => {};
  hearCommands({ listen: (listener) => (tell = listener) }, (found) => heard.push(found));
  const stream = Buffer.concat([
    message(OP_QUERY, Buffer.alloc(30, 1)),
    message(OP_MSG, command({ find: 'sessions', filter: {} })),
    message(OP_MSG, sequence('updates', { q: {} }, { q: {} }), command({ update: 'records' })),
    message(OP_MSG, command({ hello: 1 })),
  ]);
  for (const size of [1, 7, 33, stream.length]) {
    for (let at = 0; at < stream.length; at += size) {
      // Two connections, each with a stream of its own.
      for (const connection of [size, size + 1_000]) tell(connection, stream.subarray(at, at + size));
    }
    const commands = [
      { name: 'find', target: 'sessions' },
      { name: 'update', target: 'records' },
      { name: 'hello', target: 1 },
    ];
    const order = ({ name: a }: Command, { name: b }: Command) => a.localeCompare(b);
    assert.deepEqual(heard.splice(0).sort(order), [...commands, ...commands].sort(order));
  }
});
