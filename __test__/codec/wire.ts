/** The core's side of the frames, written from their description alone. */

export interface Entry {
  op: 'put' | 'delete';
  type: string;
  id: string;
  value: Buffer;
}

export function readSetFrame(frame: Buffer): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < frame.length; ) {
    const op = frame.readUInt8(at);
    const typeEnd = at + 8 + frame.readUInt8(at + 1);
    const idEnd = typeEnd + frame.readUInt16LE(at + 2);
    const end = idEnd + frame.readUInt32LE(at + 4);
    if (op > 1 || end > frame.length) {
      throw new RangeError('not a set frame');
    }
    entries.push({
      op: op === 1 ? 'put' : 'delete',
      type: frame.toString('utf8', at + 8, typeEnd),
      id: frame.toString('utf8', typeEnd, idEnd),
      value: Buffer.from(frame.subarray(idEnd, end)),
    });
    at = end;
  }
  return entries;
}

export function readGetFrame(frame: Buffer): { type: string; ids: string[] } {
  let at = 1 + frame.readUInt8(0);
  const type = frame.toString('utf8', 1, at);
  const ids: string[] = [];
  while (at < frame.length) {
    const end = at + 2 + frame.readUInt16LE(at);
    ids.push(frame.toString('utf8', at + 2, end));
    at = end;
  }
  return { type, ids };
}

export function writeAnswer(found: [index: number, value: Buffer][]): Buffer {
  return Buffer.concat(
    found.flatMap(([index, value]) => {
      const header = Buffer.alloc(8);
      header.writeUInt32LE(index, 0);
      header.writeUInt32LE(value.length, 4);
      return [header, value];
    }),
  );
}
