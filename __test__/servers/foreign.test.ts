/** Other libraries' data as the readers hand it over: every kind of value, lists of many pages, and what went wrong. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { Redis } from 'ioredis';
import { Binary, BSON, Decimal128, ObjectId as DriverId, Long, MongoClient } from 'mongodb';
import { StorageError } from '../../lib/errors.js';
import { ObjectId, readBson } from '../../lib/native/foreign/bson.js';
import { ForeignMongo } from '../../lib/native/foreign/mongo.js';
import { escapePattern, ForeignRedis } from '../../lib/native/foreign/redis.js';
import { ForeignSqlite } from '../../lib/native/foreign/sqlite.js';
import { describeWith, type Server, startMongo, startRedis } from '../support/services.js';
import { openSqlite } from '../support/sqlite.js';

const TIMEOUT = 10_000;

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) {
    found.push(item);
  }
  return found;
}

const failsWith = (code: string) => (error: unknown) => error instanceof StorageError && error.code === code;

describeWith(['redis'], 'a foreign Redis', () => {
  let server: Server;
  let client: Redis;
  let foreign: ForeignRedis;

  before(async () => {
    server = await startRedis();
    client = new Redis(server.url);
    foreign = await ForeignRedis.open({ redisUrl: server.url, timeout: TIMEOUT });
  });
  after(async () => {
    await foreign.close();
    client.disconnect();
    await server.stop();
  });

  it('hands over bytes as they are', async () => {
    const odd = Buffer.from([0xff, 0x00, 0xfe]);
    await client.set(odd, odd);
    await client.set('empty', '');
    await client.hset('hash', { a: '1', b: odd });
    await client.sadd('set', 'x', odd);
    assert.deepEqual(await foreign.mget([odd, 'empty', 'gone']), [odd, Buffer.of(), null]);
    assert.equal(await foreign.get('gone'), null);
    const hash = new Map((await foreign.hgetall('hash')).map(([field, value]) => [String(field), value]));
    assert.deepEqual(
      hash,
      new Map([
        ['a', Buffer.from('1')],
        ['b', odd],
      ]),
    ); // prettier-ignore
    assert.deepEqual((await foreign.smembers('set')).sort(Buffer.compare), [Buffer.from('x'), odd]);
    assert.deepEqual([await foreign.type('hash'), await foreign.type('gone')], ['hash', 'none']);
    assert.equal(await foreign.ttl('hash'), null);
    await assert.rejects(foreign.get('hash'), (error: unknown) => {
      assert.ok(failsWith('CORRUPT_RECORD')(error));
      return /"hash"/.test(String(error));
    });
  });

  it('lists many keys, and none that only look alike', async () => {
    const pipeline = client.pipeline();
    for (let index = 0; index < 3000; index++) {
      pipeline.set(`many[*]:${index}`, index).set(`manyX:${index}`, index);
    }
    await pipeline.exec();
    const keys = await collect(foreign.scan(`${escapePattern('many[*]')}:*`));
    assert.equal(new Set(keys.map(String)).size, 3000);
  });

  it('goes on after a list that was not read to its end', async () => {
    for await (const key of foreign.scan('*')) {
      assert.ok(key.length > 0);
      break;
    }
    assert.equal(await foreign.type('hash'), 'hash');
  });

  it('refuses everything once it is closed', async () => {
    const other = await ForeignRedis.open({ redisUrl: server.url, timeout: TIMEOUT });
    await other.close();
    await assert.rejects(other.get('hash'), failsWith('CLOSED'));
    await assert.rejects(collect(other.scan('*')), failsWith('CLOSED'));
  });

  it('is an error while the server is away, also in the midst of a list', async () => {
    const own = await startRedis();
    const other = await ForeignRedis.open({ redisUrl: own.url, timeout: TIMEOUT });
    const filler = new Redis(own.url);
    const pipeline = filler.pipeline();
    for (let index = 0; index < 3000; index++) {
      pipeline.set(`k:${index}`, index);
    }
    await pipeline.exec();
    filler.disconnect();
    const read = async () => {
      const keys = other.scan('*');
      await keys.next();
      await own.kill();
      await collect(keys);
    };
    await assert.rejects(read(), failsWith('STORAGE_UNAVAILABLE'));
    await assert.rejects(
      ForeignRedis.open({ redisUrl: own.url, timeout: 200 }),
      failsWith('STORAGE_UNAVAILABLE'),
    );
    await other.close();
    await own.stop();
  });
});

describeWith(['ownMongo'], 'a foreign MongoDB', () => {
  let server: Server;
  let client: MongoClient;

  before(async () => {
    server = await startMongo();
    client = await MongoClient.connect(server.url);
  });
  after(async () => {
    await client.close();
    await server.stop();
  });

  const open = (database: string) => ForeignMongo.open({ mongoUrl: server.url, database, timeout: TIMEOUT });

  it('hands over what the driver of other libraries has stored', async () => {
    const things = client.db('kinds').collection<Record<string, unknown>>('things');
    await things.insertOne({
      _id: new DriverId('0123456789abcdef01234567'),
      bytes: new Binary(Buffer.from([0, 255, 7])),
      long: Long.fromString('9007199254740993'),
      nested: { list: ['Zoë 🌋', null] },
    });
    const mongo = await open('kinds');
    assert.deepEqual(await collect(mongo.find('things')), [
      {
        _id: new ObjectId('0123456789abcdef01234567'),
        bytes: Buffer.from([0, 255, 7]),
        long: 9007199254740993n,
        nested: { list: ['Zoë 🌋', null] },
      },
    ]);
    await mongo.close();
  });

  it('refuses a kind of value that holds no keys, by its name', async () => {
    await client
      .db('odd')
      .collection<Record<string, unknown>>('things')
      .insertOne({ price: Decimal128.fromString('1.5') });
    const mongo = await open('odd');
    await assert.rejects(collect(mongo.find('things')), (error: unknown) => {
      return failsWith('CORRUPT_RECORD')(error) && /"price"/.test(String(error));
    });
    await mongo.close();
  });

  it('reads many pages in order, and what a query asks for', async () => {
    const things = client.db('many').collection<{ _id: string; at: number }>('things');
    const all = Array.from({ length: 1700 }, (_, at) => ({ _id: `n${String(at).padStart(5, '0')}`, at }));
    await things.insertMany(all);
    const mongo = await open('many');
    assert.deepEqual(await mongo.collections(), ['things']);
    assert.deepEqual(await collect(mongo.find('things')), all);
    const filter = { _id: { $gte: 'n00010', $lt: 'n00012' } };
    assert.deepEqual(await collect(mongo.find('things', filter, { projection: { _id: 1 } })), [
      { _id: 'n00010' },
      { _id: 'n00011' },
    ]);
    await mongo.close();
  });

  it('is an error while the server is away, also in the midst of a list', async () => {
    const own = await startMongo();
    const writer = await MongoClient.connect(own.url);
    await writer
      .db('away')
      .collection('things')
      .insertMany(Array.from({ length: 2000 }, (_, at) => ({ at })));
    await writer.close();
    const mongo = await ForeignMongo.open({ mongoUrl: own.url, database: 'away', timeout: 2000 });
    const read = async () => {
      const documents = mongo.find('things');
      await documents.next();
      await own.kill();
      await collect(documents);
    };
    await assert.rejects(read(), (error: unknown) => error instanceof StorageError && error.retryable);
    await assert.rejects(
      ForeignMongo.open({ mongoUrl: own.url, database: 'away', timeout: 200 }),
      failsWith('STORAGE_UNAVAILABLE'),
    );
    await mongo.close();
    await own.stop();
  });
});

describe('BSON', () => {
  it('is read without loss, whatever it holds', () => {
    const nested = { 'a.b': 1, c$d: [{ deep: ['x'] }] };
    const written = {
      text: 'Zoë 🌋',
      bytes: new Binary(Buffer.from([0, 255, 7])),
      old: new Binary(Buffer.from([1, 2]), Binary.SUBTYPE_BYTE_ARRAY),
      small: 7,
      half: 0.5,
      long: Long.fromString('-9007199254740993'),
      negative: Long.fromNumber(-5),
      yes: true,
      none: null,
      when: new Date(-1),
      nested,
    };
    assert.deepEqual(readBson(Buffer.from(BSON.serialize(written))), {
      ...written,
      bytes: Buffer.from([0, 255, 7]),
      old: Buffer.from([1, 2]),
      long: -9007199254740993n,
      negative: -5,
    });
    // As its own property, whatever its name.
    const hostile = BSON.serialize(JSON.parse('{"__proto__":{"x":1}}'));
    assert.deepEqual(Object.keys(readBson(Buffer.from(hostile))), ['__proto__']);
  });

  it('is an error where it is cut short', () => {
    const whole = Buffer.from(BSON.serialize({ a: 'text', b: new Binary(Buffer.alloc(9)), c: { d: 1 } }));
    for (let length = 0; length < whole.length; length++) {
      assert.throws(() => readBson(whole.subarray(0, length)), failsWith('CORRUPT_RECORD'), `${length}`);
    }
  });
});

describe('a foreign SQLite file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'foreign-sqlite-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('is read beside its writer, as it was when it was opened', async () => {
    const path = join(folder, 'auth.db');
    const writer = openSqlite(path);
    writer.pragma('journal_mode = WAL');
    writer.exec('CREATE TABLE t (a TEXT, n INTEGER, r REAL, b BLOB)');
    const insert = writer.prepare('INSERT INTO t VALUES (?, ?, ?, ?)');
    writer.exec('BEGIN');
    for (let at = 0; at < 2500; at++) {
      insert.run(`a${at}`, BigInt(at) + 2n ** 60n, at / 2, at === 0 ? Buffer.from([0, 255]) : null);
    }
    writer.exec('COMMIT');
    const sqlite = await ForeignSqlite.open(path);
    assert.deepEqual(await sqlite.tables(), ['t']);
    assert.deepEqual(
      (await sqlite.columns('t')).map(({ name }) => name),
      ['a', 'n', 'r', 'b'],
    );
    const all = [];
    for await (const row of sqlite.rows('t', ['n'])) {
      if (all.length === 0) {
        writer.exec('DELETE FROM t WHERE n > 0');
      }
      all.push(row);
    }
    assert.equal(all.length, 2500);
    assert.deepEqual(await collect(sqlite.rows('t', ['a', 'n', 'r', 'b'], { a: 'a0' })), [
      [
        { of: 'text', bytes: Buffer.from('a0') },
        { of: 'integer', value: 2n ** 60n },
        { of: 'real', value: 0 },
        { of: 'blob', bytes: Buffer.from([0, 255]) },
      ],
    ]);
    await assert.rejects(collect(sqlite.rows('t', ['gone'])), failsWith('CORRUPT_RECORD'));
    await sqlite.close();
    writer.close();
  });

  it('is not made where there is none', async () => {
    await assert.rejects(ForeignSqlite.open(join(folder, 'gone.db')), failsWith('CONFIG_INVALID'));
  });
});
