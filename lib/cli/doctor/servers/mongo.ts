/** What MongoDB has of a store; `docs/internals/mongodb.md` says how sessions lie there. */
import type { BsonDocument } from '../../../native/foreign/bson.js';
import { duration, plural } from '../../text.js';
import type { Finding } from '../catalogue.js';
import type { MongoServer } from './connect.js';

/** The indexes of ours by which the server removes something, by the field that each goes by. */
const OWN_INDEXES = {
  sessions: ['expiresAt'],
  records: ['r.expiresAt'],
  leases: ['expiresAt'],
  dead_letters: [],
} as const;

export async function examineMongo(server: MongoServer): Promise<Finding[]> {
  return [...(await foreignIndexes(server)), ...(await expiring(server)), ...(await orphans(server))];
}

/** Indexes that remove what is in use. */
async function foreignIndexes({ mongo, collection }: MongoServer): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const name of Object.keys(OWN_INDEXES) as (keyof typeof OWN_INDEXES)[]) {
    const own: readonly string[] = OWN_INDEXES[name];
    for (const [index, field] of await mongo.expiringIndexes(collection(name))) {
      if (!own.includes(field)) {
        findings.push({
          code: 'TTL_INDEX',
          sessionId: null,
          what: `the index ${index} removes documents of ${collection(name)} by ${field}`,
        });
      }
    }
  }
  return findings;
}

/** Sessions with a time to live. */
async function expiring({ mongo, collection }: MongoServer): Promise<Finding[]> {
  const findings: Finding[] = [];
  const filter = { version: { $gt: 0 }, expiresAt: { $exists: true } };
  const fields = { projection: { expiresAt: 1 } };
  for await (const { _id, expiresAt } of mongo.find(collection('sessions'), filter, fields)) {
    if (typeof _id === 'string' && expiresAt instanceof Date) {
      const left = (expiresAt.getTime() - Date.now()) / 1000;
      const when = left > 0 ? `it ends in ${duration(left)}` : `it ended ${duration(-left)} ago`;
      findings.push({ code: 'SESSION_EXPIRES', sessionId: _id, what: when });
    }
  }
  return findings;
}

/** Behind everything that begins so. */
const AFTER = '\u{10ffff}';

/** Incarnations that have records, and that no session knows of. */
async function orphans({ mongo, collection }: MongoServer): Promise<Finding[]> {
  const known = new Map<string, Set<string>>();
  const fields = { projection: { epoch: 1, garbage: 1 } };
  for await (const session of mongo.find(collection('sessions'), {}, fields)) {
    known.set(inId(String(session._id)), epochsOf(session));
  }
  const lost: string[] = [];
  let after: string | undefined = '';
  while (after !== undefined) {
    const next: string | undefined = await firstAfter(mongo, collection('records'), after);
    after = next === undefined ? undefined : `${next}/${AFTER}`;
    const [session = '', epoch = ''] = next?.split('/') ?? [];
    if (next !== undefined && known.get(session)?.has(epoch) !== true) {
      lost.push(session);
    }
  }
  const names = [...new Set(lost)];
  return names.length === 0
    ? []
    : [
        {
          code: 'ORPHANS',
          sessionId: null,
          what: `records of ${plural(names.length, 'session')} that are no more: ${names.slice(0, 5).join(', ')}`,
        },
      ];
}

/** `session/epoch` of the first record behind `after`. */
async function firstAfter(
  mongo: MongoServer['mongo'],
  records: string,
  after: string,
): Promise<string | undefined> {
  for await (const { _id } of mongo.find(records, { _id: { $gt: after } }, { projection: { _id: 1 } })) {
    return String(_id).split('/', 2).join('/');
  }
  return undefined;
}

/** Those of a session: its own, and those whose records are to be removed. */
function epochsOf({ epoch, garbage }: BsonDocument): Set<string> {
  return new Set([String(epoch), ...(Array.isArray(garbage) ? garbage.map(String) : [])]);
}

const inId = (name: string): string => name.replace(/[%/]/g, encodeURIComponent);
