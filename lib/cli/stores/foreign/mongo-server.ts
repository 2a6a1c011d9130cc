import { ForeignMongo } from '../../../native/foreign/mongo.js';
import { mongoLocation } from '../../../options/mongo-location.js';
import { splitUrl } from '../../../options/url.js';
import { usage } from '../../errors.js';
import type { ForeignAddress } from './address.js';
import type { SourceSettings } from './source.js';

/** Connects to the server of an address, by the rules for URLs and certificates that our own stores have. */
export async function openMongo(
  { place, tls, shown, choices: { databaseName } }: ForeignAddress,
  { timeout, warn }: SourceSettings,
): Promise<ForeignMongo> {
  if (databaseName === undefined && splitUrl(place).path.length <= 1) {
    throw usage(
      `${shown} does not name the database`,
      'Put its name behind the host, as in mongodb://host/whatsapp, or give databaseName in the query.',
    );
  }
  const notes = { idle: [], warnings: [] };
  const given = { mongoUrl: place, ...(databaseName !== undefined && { databaseName }), tls };
  const { location } = mongoLocation('', given, false, [], notes);
  for (const warning of [...notes.warnings, ...notes.idle]) {
    warn(warning);
  }
  const { url, database } = location;
  return await ForeignMongo.open({ mongoUrl: url, database, tls: location.tls, timeout });
}
