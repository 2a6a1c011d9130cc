/**
 * `@luoarch/baileys-store-core` in MongoDB: a document for each session, with `creds`, `appState`, and in `keys` one text for
 * each type; each `base64(nonce | sealed)`, or without encryption the packed value itself. Nothing says which of the two, or
 * by which key.
 */
import { type BsonDocument, ObjectId } from '../../../../native/foreign/bson.js';
import type { ForeignMongo } from '../../../../native/foreign/mongo.js';
import { usage } from '../../../errors.js';
import type { StoredSession } from '../../store.js';
import type { ForeignAddress } from '../address.js';
import { openMongo } from '../mongo-server.js';
import { damaged, type SourcePlace } from '../records.js';
import { SourceSessions, type SourceSettings } from '../source.js';
import { allKeys, unpack, unsealAny } from './sealed.js';
import { object, type Parts, recordsOfParts } from './session.js';

/** What every document of the package has, and hardly another one. */
const ITS_OWN = { version: { $exists: true }, updatedAt: { $exists: true }, expiresAt: { $exists: true } };

export class LuoarchMongoSessions extends SourceSessions {
  /** A session is one document. */
  protected override readonly isAtomic = true;
  private found: Promise<string | undefined> | undefined;

  private constructor(
    readonly shown: string,
    private readonly mongo: ForeignMongo,
    private readonly collectionName: string | undefined,
    private readonly keys: readonly Buffer[],
  ) {
    super();
  }

  static async open(address: ForeignAddress, settings: SourceSettings): Promise<LuoarchMongoSessions> {
    const mongo = await openMongo(address, settings);
    const { collectionName } = address.choices;
    return new LuoarchMongoSessions(address.shown, mongo, collectionName, allKeys(settings.keys));
  }

  async list(): Promise<string[]> {
    const collection = await this.collection();
    const found: string[] = [];
    if (collection !== undefined) {
      for await (const { _id } of this.mongo.find(collection, ITS_OWN, { projection: { _id: 1 } })) {
        if (typeof _id === 'string') {
          found.push(_id);
        }
      }
    }
    return found.sort();
  }

  async read(sessionId: string): Promise<StoredSession | undefined> {
    const collection = await this.collection();
    if (collection === undefined) {
      return undefined;
    }
    for await (const document of this.mongo.find(collection, { _id: sessionId, ...ITS_OWN })) {
      return this.session({ sessionId, shown: this.shown }, document);
    }
    return undefined;
  }

  close(): Promise<void> {
    return this.mongo.close();
  }

  private collection(): Promise<string | undefined> {
    this.found ??= this.find();
    return this.found;
  }

  /** The collection that the address names, or else the only one with such documents. */
  private async find(): Promise<string | undefined> {
    if (this.collectionName !== undefined) {
      return this.collectionName;
    }
    const found: string[] = [];
    for (const collection of await this.mongo.collections()) {
      for await (const { _id, ...fields } of this.mongo.find(collection, ITS_OWN)) {
        if (!(_id instanceof ObjectId) && (typeof fields.creds === 'string' || isObject(fields.keys))) {
          found.push(collection);
        }
        break;
      }
    }
    if (found.length > 1) {
      throw usage(
        `${this.shown} has several collections with such sessions: ${found.sort().join(', ')}`,
        'Say which one with collectionName in the query.',
      );
    }
    return found[0];
  }

  private session(place: SourcePlace, document: BsonDocument): StoredSession {
    const { creds, keys, appState, version, updatedAt } = document;
    const parts: Parts = { creds: undefined, keys: undefined, appState: undefined };
    if (creds !== undefined && creds !== null) {
      parts.creds = { name: 'creds', value: this.value(place, 'creds', creds) };
    }
    if (keys !== undefined && keys !== null) {
      const types = Object.entries(object(place, 'keys', keys));
      const value = types.map(([type, stored]) => [type, this.value(place, `keys.${type}`, stored)]);
      parts.keys = { name: 'keys', value: Object.fromEntries(value) };
    }
    if (appState !== undefined && appState !== null) {
      parts.appState = { name: 'appState', value: this.value(place, 'appState', appState) };
    }
    return {
      records: recordsOfParts(place, parts, { creds: 'creds', keys: 'keys' }),
      ...(typeof version === 'number' && { version }),
      ...(updatedAt instanceof Date && { updatedAt: updatedAt.getTime() }),
    };
  }

  private value(place: SourcePlace, name: string, stored: unknown): unknown {
    if (typeof stored !== 'string') {
      throw damaged(place, name, 'expected a text');
    }
    const bytes = Buffer.from(stored, 'base64');
    return unpack(place, name, unsealAny(place, name, this.keys, bytes));
  }
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
