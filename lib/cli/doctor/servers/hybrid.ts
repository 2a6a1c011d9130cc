/** What Redis holds in front of MongoDB; `docs/internals/hybrid.md` says how. */
import type { BsonDocument } from '../../../native/foreign/bson.js';
import { duration, plural } from '../../text.js';
import type { Finding } from '../catalogue.js';
import type { MongoServer, RedisServer } from './connect.js';
import { inKey } from './redis.js';

/** Milliseconds after which a commit that MongoDB does not have is no longer on its way. */
const LATE = 60_000;
const REVISION = /^(\d+):(\d+):[0-9a-f]{16}:(\d+)$/;

export async function examineHybrid(redis: RedisServer, mongo: MongoServer): Promise<Finding[]> {
  const installation = await installationOf(mongo);
  if (installation === undefined) {
    return [];
  }
  return [
    ...(await outboxes(redis, mongo, installation)),
    ...(await deadLetters(redis, mongo, installation)),
  ];
}

async function installationOf({ mongo, collection }: MongoServer): Promise<string | undefined> {
  for await (const { name } of mongo.find(collection('leases'), { _id: 'installation' })) {
    return String(name);
  }
  return undefined;
}

/** Sessions whose outbox MongoDB knows of, and what it does not have of them. */
async function outboxes(
  { redis, prefix }: RedisServer,
  { mongo, collection }: MongoServer,
  installation: string,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const fields = { projection: { version: 1, outbox: 1, updatedAt: 1 } };
  for await (const session of mongo.find(collection('sessions'), { outbox: { $gt: 0 } }, fields)) {
    const sessionId = String(session._id);
    const key = (what: string): string => `${prefix}:{${inKey(sessionId)}}:${installation}:${what}`;
    const revision = REVISION.exec((await redis.hget(key('outbox'), '@'))?.toString('latin1') ?? '');
    const isHeld = (await redis.get(key('owner'))) !== null;
    if (revision === null) {
      // An owner that runs has in memory what Redis lost.
      if (!isHeld) {
        const what = `Redis no longer has the outbox of its last owner; MongoDB is at version ${versionOf(session)}`;
        findings.push({ code: 'OUTBOX_LOST', sessionId, what });
      }
      continue;
    }
    const behind = Number(revision[2]) - versionOf(session);
    const age = Date.now() - Number(revision[3]);
    if (behind > 0 && (age > LATE || !isHeld)) {
      const owner = isHeld ? '' : ', and no bot has the session';
      const what = `MongoDB lacks ${plural(behind, 'patch', 'patches')}, the last of ${duration(Math.max(age, 0) / 1000)} ago${owner}`;
      findings.push({ code: 'OUTBOX_BEHIND', sessionId, what });
    }
  }
  return findings;
}

const versionOf = ({ version }: BsonDocument): number => Number(version ?? 0);

async function deadLetters(
  { redis, prefix }: RedisServer,
  { mongo, collection }: MongoServer,
  installation: string,
): Promise<Finding[]> {
  const inRedis = await redis.xlen(`${prefix}:${installation}:dead-letters`);
  let inMongo = 0;
  for await (const _letter of mongo.find(collection('dead_letters'), {}, { projection: { _id: 1 } })) {
    inMongo += 1;
  }
  const places = [
    ...(inRedis > 0 ? [`${inRedis} in Redis`] : []),
    ...(inMongo > 0 ? [`${inMongo} in MongoDB`] : []),
  ];
  return places.length === 0 ? [] : [{ code: 'DEAD_LETTERS', sessionId: null, what: places.join(', ') }];
}
