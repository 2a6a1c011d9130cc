/**
 * `mongo-baileys`: a collection for each session, with a document `auth_creds` and one for each record, `<type>-<id>`.
 *
 * It writes a record by `$set` with the record itself, so that a document holds the fields of an object. What is no object
 * (bytes, a text, a list) the server refuses, and the library only prints that: such records were never stored. Of a
 * name with a dot, `$set` makes a path.
 */
import { type BsonDocument, type BsonValue, ObjectId } from '../../../native/foreign/bson.js';
import type { ForeignMongo } from '../../../native/foreign/mongo.js';
import type { StoredSession } from '../store.js';
import type { ForeignAddress } from './address.js';
import { openMongo } from './mongo-server.js';
import { CREDS_NAME, type NamedValue, recordsOfNames } from './named-records.js';
import { damaged, type OnDamage, type SourcePlace } from './records.js';
import { RecordwiseSessions, type SourceSettings } from './source.js';

const CREDS_ID = 'auth_creds';
/** Types of which Baileys stores bytes, texts or lists. */
const LOST = ['identity-key', 'sender-key', 'lid-mapping', 'device-list'];
/** Its ids are jids, all of which have a dot. */
const TORN = 'sender-key-memory-';

export class MongoBaileysSessions extends RecordwiseSessions {
  private constructor(
    readonly shown: string,
    private readonly mongo: ForeignMongo,
    private readonly only: string | undefined,
    private readonly warn: (text: string) => void,
  ) {
    super();
  }

  static async open(address: ForeignAddress, settings: SourceSettings): Promise<MongoBaileysSessions> {
    const mongo = await openMongo(address, settings);
    return new MongoBaileysSessions(address.shown, mongo, address.choices.collectionName, settings.warn);
  }

  async list(): Promise<string[]> {
    const found: string[] = [];
    for (const collection of await this.mongo.collections()) {
      if ((this.only === undefined || collection === this.only) && (await this.isSession(collection))) {
        found.push(collection);
      }
    }
    return found;
  }

  protected async readAll(sessionId: string, onDamage: OnDamage): Promise<StoredSession | undefined> {
    if (this.only !== undefined && sessionId !== this.only) {
      return undefined;
    }
    const place: SourcePlace = { sessionId, shown: this.shown };
    const keyOf = (name: string): string =>
      `${sessionId} ${JSON.stringify(name === CREDS_NAME ? CREDS_ID : name)}`;
    const values: NamedValue[] = [];
    let torn = 0;
    for await (const { _id, ...fields } of this.mongo.find(sessionId)) {
      if (_id === CREDS_ID) {
        values.push({ name: CREDS_NAME, read: () => credsOf(place, keyOf(CREDS_NAME), fields) });
      } else if (typeof _id === 'string' && _id.startsWith(TORN) && Object.values(fields).some(isDocument)) {
        torn += 1;
      } else {
        // An id of MongoDB's own is nobody's record.
        values.push({ name: String(_id), read: () => plain(fields) });
      }
    }
    const records = recordsOfNames(place, values, { keyOf, warn: this.warn }, onDamage);
    if (records !== undefined) {
      const lost = LOST.filter((type) => records.every((record) => record.type !== type));
      this.tellLost(sessionId, lost, torn);
    }
    return records && { records };
  }

  close(): Promise<void> {
    return this.mongo.close();
  }

  /** Whether a collection holds a session, be it one that has lost its creds. */
  private async isSession(collection: string): Promise<boolean> {
    const projection = { _id: 1 };
    for (const filter of [{ _id: CREDS_ID }, { _id: { $gte: 'pre-key-', $lt: 'pre-key.' } }]) {
      for await (const _document of this.mongo.find(collection, filter, { projection })) {
        return true;
      }
    }
    return false;
  }

  private tellLost(sessionId: string, lost: readonly string[], torn: number): void {
    const parts = [
      ...(lost.length > 0 ? [`${lost.join(', ')} are lost`] : []),
      ...(torn > 0 ? ['sender-key-memory is torn, and left out'] : []),
    ];
    if (parts.length > 0) {
      this.warn(
        `${sessionId}: mongo-baileys stores neither bytes nor texts nor lists: ${parts.join('; ')}. Baileys asks for them anew`,
      );
    }
  }
}

function credsOf(place: SourcePlace, key: string, { creds }: BsonDocument): unknown {
  if (!isDocument(creds)) {
    throw damaged(place, key, 'it has no field creds');
  }
  return plain(creds);
}

const isDocument = (value: BsonValue): value is BsonDocument =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  !Buffer.isBuffer(value) &&
  !(value instanceof Date) &&
  !(value instanceof ObjectId);

/**
 * A value as Baileys has it. MongoDB's driver writes null for undefined, and Baileys tells the two apart: in a chain of a
 * session that was closed, for one.
 */
function plain(value: BsonValue): unknown {
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (!isDocument(value)) {
    return value;
  }
  const fields = Object.entries(value).filter(([, inner]) => inner !== null);
  return Object.fromEntries(fields.map(([name, inner]) => [name, plain(inner)]));
}
