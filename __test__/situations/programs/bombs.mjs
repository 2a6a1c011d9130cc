/**
 * A bot in an unsealed store, into which somebody who can write to Redis has put records that grow when they are
 * read: `node bombs.mjs <redis url>`. Says how many bytes the process grew by.
 */
import assert from 'node:assert/strict';
import { crc32, gzipSync } from 'node:zlib';
import { Redis } from 'ioredis';
import { open } from '../../servers/open.mjs';

const ID = 'bot';
const TYPE = 'session';
const place = { mode: 'redis', redisUrl: process.argv[2], sealed: false };

const varint = (value) => (value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))]);

/** A value: an array of so many copies of what `tags` spell. */
function list(tags, count) {
  const head = [0x09, ...varint(count)];
  const length = head.length + tags.length * count;
  const value = Buffer.alloc(1 + varint(length).length + 1 + length, Buffer.from(tags));
  const start = Buffer.from([1, ...varint(length), 0, ...head]);
  start.copy(value);
  // The pattern has to begin behind the head.
  Buffer.alloc(tags.length * count, Buffer.from(tags)).copy(value, start.length);
  return value;
}

/** The envelope of an unsealed record, as docs/internals/envelope.md describes it. */
function envelope(id, compression, body) {
  const prefix = Buffer.from([0xb1, compression]);
  const key = Buffer.from(`${String.fromCharCode(TYPE.length)}${TYPE}${id}`);
  const length = (bytes) => {
    const field = Buffer.alloc(8);
    field.writeUInt32LE(bytes.length);
    return field;
  };
  const session = Buffer.from(ID);
  const checksum = Buffer.alloc(4);
  const covered = Buffer.concat([prefix, length(session), session, length(key), key, body]);
  checksum.writeUInt32LE(crc32(covered));
  return Buffer.concat([prefix, checksum, body]);
}

const snappyClaim = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]);
const MANY = 30_000_000;
const BOMBS = {
  objects: () => [2, gzipSync(list([0x0a, 0], MANY), { level: 9 })],
  buffers: () => [2, gzipSync(list([0x08, 0], MANY), { level: 9 })],
  text: () => [2, gzipSync(Buffer.alloc(64 << 20, 'a'), { level: 9 })],
  claimed: () => [1, snappyClaim],
  plain: () => [0, list([0x0a, 0], 4_000_000)],
};

const first = await open(place, ID);
// Without them, opening reads another record.
await first.saveCreds();
await first.state.keys.set({
  [TYPE]: Object.fromEntries(['harmless', ...Object.keys(BOMBS)].map((id) => [id, { id }])),
});
await first.store.close();

const redis = new Redis(place.redisUrl);
const [hash] = await redis.keys(`*${ID}*`);
const fields = await redis.hkeysBuffer(hash);
for (const [id, make] of Object.entries(BOMBS)) {
  const field = fields.find((name) => name.toString('latin1').endsWith(`${TYPE}${id}`));
  assert.ok(field !== undefined, `no field of ${id} in ${hash}`);
  const [compression, body] = make();
  await redis.hset(hash, field, envelope(id, compression, body));
}
await redis.quit();

const { state, store } = await open(place, ID, { cacheBytes: 0 });
globalThis.gc();
const before = process.memoryUsage().rss;
let most = 0;
for (const id of Object.keys(BOMBS)) {
  const error = await state.keys.get(TYPE, [id]).then(
    () => assert.fail(`${id} was read`),
    (error) => error,
  );
  assert.equal(error.code, 'CORRUPT_RECORD', `${id}: ${error}`);
  most = Math.max(most, process.memoryUsage().rss - before);
}
assert.deepEqual(await state.keys.get(TYPE, ['harmless']), { harmless: { id: 'harmless' } });
await assert.rejects(store.get(ID), { code: 'CORRUPT_RECORD' });
await store.close();
process.stdout.write(`${most}\n`);
