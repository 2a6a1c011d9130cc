import { basename, dirname } from 'node:path';
import { Redis } from 'ioredis';
import { Binary, MongoClient } from 'mongodb';
import { sql } from '../support/services.js';

/** Small beside the record that a case wants damaged, large beside all others. */
const LARGE = 32 * 1024;

const flipped = (bytes: Buffer): Buffer => {
  const copy = Buffer.from(bytes);
  const at = copy.length >> 1;
  copy[at] = ~(copy[at] as number) & 0xff;
  return copy;
};

/** Flips a byte in the middle of the large record of a conformance case, in every copy that servers have. */
export async function damageServers(location: string): Promise<void> {
  const session = basename(dirname(location));
  const { BAILEYS_VAULT_TEST_REDIS: redisUrl, BAILEYS_VAULT_TEST_MONGO: mongoUrl } = process.env;
  const redis = redisUrl === undefined ? 0 : await damageRedis(redisUrl, session);
  const mongo = mongoUrl === undefined ? 0 : await damageMongo(mongoUrl, session);
  // The server may be one that all tests share; the schema is the case's own.
  const { BAILEYS_VAULT_TEST_POSTGRES: postgresUrl, BAILEYS_VAULT_TEST_SCHEMA: schema } = process.env;
  const postgres =
    postgresUrl === undefined || schema === undefined ? 0 : damagePostgres(postgresUrl, schema, session);
  if (redis + mongo + postgres === 0) throw new Error('no server has a large record of this session');
}

async function damageRedis(url: string, session: string): Promise<number> {
  const client = new Redis(url);
  let damaged = 0;
  try {
    const copies = await client.keys(`bv:{${session}}:*:hot`);
    for (const key of [`bv:{${session}}`, ...copies]) {
      for (const [field, value] of Object.entries(await client.hgetallBuffer(key))) {
        if (value.length < LARGE) continue;
        await client.hset(key, field, flipped(value));
        damaged++;
      }
    }
  } finally {
    client.disconnect();
  }
  return damaged;
}

/** Alters the binary data in a document, wherever it lies; says how often. */
function alter(value: unknown): number {
  if (value === null || typeof value !== 'object') return 0;
  let altered = 0;
  for (const [name, inner] of Object.entries(value)) {
    if (inner instanceof Binary) {
      if (inner.length() < LARGE) continue;
      (value as Record<string, unknown>)[name] = new Binary(flipped(Buffer.from(inner.value())));
      altered++;
    } else altered += alter(inner);
  }
  return altered;
}

async function damageMongo(url: string, session: string): Promise<number> {
  const client = new MongoClient(url);
  let damaged = 0;
  try {
    const database = client.db(process.env.BAILEYS_VAULT_TEST_DATABASE);
    for (const name of ['vault_sessions', 'vault_records']) {
      const collection = database.collection<{ _id: string }>(name);
      const documents = await collection
        .find({ $or: [{ _id: session }, { _id: { $gte: `${session}/`, $lt: `${session}0` } }] })
        .toArray();
      for (const document of documents) {
        const altered = alter(document);
        if (altered > 0) await collection.replaceOne({ _id: document._id }, document);
        damaged += altered;
      }
    }
  } finally {
    await client.close();
  }
  return damaged;
}

function damagePostgres(url: string, schema: string, session: string): number {
  const id = Buffer.from(session).toString('hex');
  const altered = sql(
    { port: Number(new URL(url).port) },
    `UPDATE "${schema}".vault_record
     SET value = set_byte(value, length(value) / 2, get_byte(value, length(value) / 2) # 255)
     WHERE session = '\\x${id}' AND length(value) >= ${LARGE} RETURNING 1`,
  );
  return altered === '' ? 0 : altered.split('\n').length;
}
