/** Everything that doctor can find. The codes are stable; `docs/doctor.md` has them all. */

export type Severity = 'error' | 'warning' | 'info';

interface Entry {
  severity: Severity;
  /** What it means for the bot. */
  meaning: string;
  /** What to do about it. */
  action: string;
}

export const CATALOGUE = {
  STORE_DAMAGED: {
    severity: 'error',
    meaning: 'The database itself is damaged: what is read from it may be incomplete.',
    action: 'Stop the bot, keep a copy of the folder, and restore a backup.',
  },
  RECORD_DAMAGED: {
    severity: 'error',
    meaning: 'A record of the session cannot be read, so the session does not open or a chat fails.',
    action: 'Restore a backup with --creds-only; without one, the account must be paired anew.',
  },
  KEY_UNKNOWN: {
    severity: 'error',
    meaning: 'No master key that was given opens the session.',
    action:
      'Give the key that it is sealed with, as master key or as a previous one. Do not delete the session.',
  },
  NOT_SEALED: {
    severity: 'warning',
    meaning: 'The session is stored readable: whoever reads the storage can take over the account.',
    action:
      'Give the bot a masterKey with security.acceptPlain, call store.rotateKey(), then take acceptPlain away.',
  },
  CREDS_MISSING: {
    severity: 'error',
    meaning: 'There are keys, but no credentials: the bot would begin with a new identity.',
    action: 'Restore creds.json, or the session, from a backup. Do not start the bot before.',
  },
  CREDS_TORN: {
    severity: 'error',
    meaning:
      'The file of the credentials is not whole, as after a crash or a full disk: the bot loses the account.',
    action: 'Restore creds.json from a backup; without one, the account must be paired anew.',
  },
  CREDS_INCOMPLETE: {
    severity: 'error',
    meaning: 'A part of the credentials is missing or wrong, and no socket can go on with them.',
    action: 'Restore the credentials from a backup; without one, the account must be paired anew.',
  },
  BYTES_MANGLED: {
    severity: 'error',
    meaning: 'A key is stored as a text or an object, and not as bytes: it was written without BufferJSON.',
    action: 'Restore a backup, and write values with BufferJSON of Baileys, or let Baileys Vault store them.',
  },
  KEYS_DO_NOT_MATCH: {
    severity: 'error',
    meaning: 'Private and public half of a key do not belong together: two states were mixed.',
    action: 'Restore a backup of one moment; never copy single files or fields between sessions.',
  },
  IDENTITY_TWICE: {
    severity: 'error',
    meaning:
      'The same identity is stored twice. If two bots use it, each ends the other (status 440), and its chats break.',
    action: 'Keep the copy that was last connected to WhatsApp, and delete the other one.',
  },
  ME_MISSING: {
    severity: 'error',
    meaning: 'The credentials say that they are registered, but not of which account.',
    action: 'Restore a backup; without one, the account must be paired anew.',
  },
  NOT_PAIRED: {
    severity: 'info',
    meaning: 'The session was never paired with an account.',
    action: 'Pair it, or delete it.',
  },
  PREKEYS_USED_UP: {
    severity: 'error',
    meaning: 'No pre-key is left: the first message of every new chat cannot be read.',
    action:
      'Restore a backup. If there is none, connect the bot: it makes new ones when the server has none left.',
  },
  PREKEYS_LOW: {
    severity: 'warning',
    meaning: 'Few pre-keys are left: each new chat uses one up.',
    action: 'Connect the bot: it makes new ones.',
  },
  PREKEY_CURRENT_MISSING: {
    severity: 'warning',
    meaning:
      'The last pre-key that the credentials know of is not stored: a write was lost, or the creds are newer.',
    action:
      'Connect the bot: newer releases of Baileys notice it and make new ones. Look for what loses writes.',
  },
  PREKEY_DAMAGED: {
    severity: 'warning',
    meaning: 'A pre-key is no pair of keys: the chat that uses it cannot begin.',
    action: 'Restore a backup, or let the bot make new ones.',
  },
  PREKEYS_MANY: {
    severity: 'warning',
    meaning:
      'Far more pre-keys are stored than WhatsApp ever has: used ones are not deleted, and the store grows.',
    action: 'Update Baileys. What is stored does no harm.',
  },
  SESSIONS_MANY: {
    severity: 'warning',
    meaning: 'The session holds very many chat sessions.',
    action: 'Nothing, if the bot has that many contacts.',
  },
  SESSION_LARGE: {
    severity: 'warning',
    meaning: 'A chat session is very large: it is negotiated anew over and over, or messages never arrive.',
    action: 'Look whether two bots use this account. The record may be deleted: the chat is negotiated anew.',
  },
  SESSION_DAMAGED: {
    severity: 'warning',
    meaning: 'A chat session is not what libsignal writes: messages of that chat cannot be read.',
    action: 'Delete that record: the chat is negotiated anew.',
  },
  APP_STATE_KEY_MISSING: {
    severity: 'warning',
    meaning: 'The key of the app state is not stored: archived, muted and pinned chats are not synchronised.',
    action: 'Nothing by hand: the phone sends it anew when it is asked. If it stays, pair anew.',
  },
  APP_STATE_KEY_DAMAGED: {
    severity: 'warning',
    meaning: 'A key of the app state has not 32 bytes: it was written as a text or an object.',
    action: 'Delete that record: the phone sends it anew when it is asked.',
  },
  FILE_TORN: {
    severity: 'error',
    meaning: 'A key file is not whole: what it held is lost, and the folder cannot be imported.',
    action: 'Restore it, or remove it: that chat is negotiated anew.',
  },
  FILE_LEFTOVER: {
    severity: 'info',
    meaning: 'A file of a write that was broken off, or of a program that keeps copies.',
    action: 'Nothing: a copy is read only where its file is missing or torn.',
  },
  FILE_FOREIGN: {
    severity: 'info',
    meaning: 'Something in the folder is not of useMultiFileAuthState.',
    action: 'Nothing: it is left alone.',
  },
  FILES_READABLE: {
    severity: 'warning',
    meaning: 'Others on this machine can read the folder, and so take over the account.',
    action: 'chmod 700 the folder; --fix does it.',
  },
  BYTES_AS_ARRAY: {
    severity: 'warning',
    meaning:
      "Bytes are written as lists of numbers, which Baileys' own function does not read back as bytes.",
    action:
      'Import the folder into Baileys Vault, which reads them, or write files with BufferJSON.replacer.',
  },
  FOREIGN_FILES: {
    severity: 'error',
    meaning:
      "A creds.json of Baileys' own lies in the folder of a store: the hook asks which of the two goes on.",
    action: 'Remove the older one, or say which with onForeignFiles (docs/guides/embedded.md).',
  },
  IMPORTED_FILES_LEFT: {
    severity: 'warning',
    meaning: 'Files that were imported are still there, with readable keys.',
    action: 'When the bot runs, remove the folders imported-* and ignored-*.',
  },
  REDIS_MAY_EVICT: {
    severity: 'error',
    meaning: 'Redis may delete sessions when it is short of memory.',
    action: 'Set maxmemory-policy noeviction.',
  },
  REDIS_NOT_PERSISTENT: {
    severity: 'error',
    meaning: 'Redis keeps sessions in memory, or in snapshots alone: a restart loses them.',
    action: 'Set appendonly yes.',
  },
  SESSION_EXPIRES: {
    severity: 'warning',
    meaning:
      'The server removes the session unless it is written before: a bot that is quiet for so long loses its account.',
    action: 'Give it no ttl, or a longer one: store.touch(sessionId) takes it away.',
  },
  TTL_INDEX: {
    severity: 'error',
    meaning: 'An index that is not of this package has MongoDB remove sessions or records that are in use.',
    action: 'Drop that index.',
  },
  ORPHANS: {
    severity: 'info',
    meaning:
      'Records are stored of sessions that do not exist any more, as after a delete that was broken off.',
    action: 'Nothing: bots remove them every six hours.',
  },
  OLD_STORE_LEFT: {
    severity: 'warning',
    meaning:
      'Sessions of another library are on the same server. Whoever reads it can read them, and a bot that is started on them ends this one.',
    action: 'When the bots run on this store, delete the old sessions.',
  },
  CLOCK_SKEW: {
    severity: 'warning',
    meaning:
      'The clocks of this machine and of the server differ, so times that are stored or shown are wrong. One wrong clock ends no lease; a second one might.',
    action: 'Have both machines follow a time server (NTP).',
  },
  DEAD_LETTERS: {
    severity: 'error',
    meaning:
      'Patches that were acknowledged can never be applied: another writer, or an operator, passed the outbox that held them.',
    action:
      'See store.getDeadLetterEntries() and docs/guides/hybrid.md. Chats that do not go on are negotiated anew.',
  },
  OUTBOX_BEHIND: {
    severity: 'warning',
    meaning:
      'MongoDB lacks what Redis has acknowledged. If Redis is lost before it follows, that is lost too.',
    action:
      'Start a bot on the session, or any store in hybrid mode: it brings the rest over. See why MongoDB does not follow.',
  },
  OUTBOX_LOST: {
    severity: 'error',
    meaning:
      'Redis has lost an outbox that may have held acknowledged patches: the session does not open (SESSION_LOST).',
    action:
      'Bring back the data of Redis. If it is gone for good, open the session once with acceptLostOutbox.',
  },
  POSTGRES_NOT_DURABLE: {
    severity: 'error',
    meaning:
      'PostgreSQL acknowledges writes that are not on disk yet: a crash loses them, or damages the database.',
    action: 'Set synchronous_commit, fsync and full_page_writes to on.',
  },
  POSTGRES_FAILOVER_LOSES: {
    severity: 'warning',
    meaning: 'PostgreSQL has standbys, and acknowledges writes that none of them has: a failover loses them.',
    action: 'Name a standby in synchronous_standby_names, with synchronous_commit on.',
  },
  LEASE_STALE: {
    severity: 'warning',
    meaning:
      'The process that had the session ended without giving it back, as after a crash. Nothing is lost by that.',
    action:
      'Start the bot: it takes the session over. Look why it ended, and close the store when a bot is stopped.',
  },
  LIBRARY_LOSES_RECORDS: {
    severity: 'warning',
    meaning: 'The library that keeps the session cannot store some kinds of records, and has lost them.',
    action:
      'Import the session: Baileys asks for them anew, and a message to a group may have to be sent again.',
  },
  STORE_WARNING: {
    severity: 'warning',
    meaning: 'The store itself warns when it is opened.',
    action: 'See its text, and the guide of that storage.',
  },
} as const satisfies Record<string, Entry>;

export type Code = keyof typeof CATALOGUE;

/** Something that is wrong, or worth knowing. */
export interface Finding {
  code: Code;
  /** Null where it is of the store and no session. */
  sessionId: string | null;
  /** What was found, and where; never a key. */
  what: string;
  /** Whether it was put right. */
  fixed?: boolean;
}

export const severityOf = ({ code }: Finding): Severity => CATALOGUE[code].severity;
