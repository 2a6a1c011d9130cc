/**
 * Names of the files that Baileys' `useMultiFileAuthState` writes: `<type>-<id>.json`, in which every `/` became `__`
 * and every `:` became `-`. That cannot be undone in general, so each type has its own rule, made from what its ids
 * look like.
 */

/** Name of a record. */
interface RecordName {
  type: string;
  id: string;
}

type Restore = (mangled: string) => string;

const unchanged: Restore = (id) => id;

/** Standard base64 has `/` but neither `_` nor `-`, so every `__` was a `/`. */
const base64: Restore = (id) => id.replaceAll('__', '/');

/**
 * A jid has no `/`. Its `-` was a `:` when a device follows (`<user>:<device>@<server>`), except in the ids of old
 * groups, which are `<creator>-<time>@g.us` to begin with.
 */
const jid: Restore = (id) => id.replace(/^([^@-]+)-(\d+)@(?!g\.us$)/, '$1:$2@');

/** `<group>::<user>::<device>`; the group may hold a `-` of its own. */
const senderKeyName: Restore = (id) => id.replace(/^(.+@.+)--([^-]+)--(\d+)$/, '$1::$2::$3');

/** Every type that some release of Baileys, or a fork in use, has stored. */
const RULES: readonly [type: string, restore: Restore][] = [
  // Key ids in decimal.
  ['pre-key', unchanged],
  // Signal addresses, `<user>[_<domain>].<device>`.
  ['session', unchanged],
  ['identity-key', unchanged],
  ['sender-key', senderKeyName],
  ['fast-ratchet-sender-key', senderKeyName],
  ['sender-key-memory', jid],
  ['app-state-sync-key', base64],
  // Names of collections, such as `critical_unblock_low`.
  ['app-state-sync-version', unchanged],
  // `<user>` and `<user>_reverse`.
  ['lid-mapping', unchanged],
  // `<user>`.
  ['device-list', unchanged],
  // Jids, and `__index`.
  ['tctoken', jid],
  ['tctoken-job', jid],
];

/** The longest first: `sender-key-memory` before `sender-key`. */
const LONGEST_FIRST = [...RULES].sort(([a], [b]) => b.length - a.length);

const SUFFIX = '.json';
export const CREDS_FILE = 'creds.json';
/** What a write that replaces its file by renaming leaves beside it: the file before, and the one to come. */
const COPIES = ['.bak', '.tmp'] as const;

/** What a file in the folder is, by its name alone. */
type FileName =
  /** Baileys', of a type that is known, or the creds; `file` is the name without what marks a copy. */
  | { of: 'baileys'; file: string }
  /** It may be Baileys' or not: the content decides. */
  | { of: 'anybody' }
  | { of: 'others' };

export function classify(name: string): FileName {
  const copy = COPIES.find((suffix) => name.endsWith(suffix));
  const file = copy === undefined ? name : name.slice(0, -copy.length);
  if (!file.endsWith(SUFFIX) || file.startsWith('.')) {
    return { of: 'others' };
  }
  if (file === CREDS_FILE) {
    return { of: 'baileys', file };
  }
  const { known, names } = recordNamesOf(file);
  if (known) {
    return { of: 'baileys', file };
  }
  return { of: copy === undefined && names.length > 0 ? 'anybody' : 'others' };
}

/**
 * The records a file may be, by its name: one if its type is known. Of a type that is not, where type ends and id
 * begins is not known either, so there is one for each `-`: the value is then found under whichever Baileys asks for.
 * None when the name has no `-`.
 */
export function recordNamesOf(file: string): { known: boolean; names: RecordName[] } {
  const name = file.endsWith(SUFFIX) ? file.slice(0, -SUFFIX.length) : file;
  for (const [type, restore] of LONGEST_FIRST) {
    if (name.startsWith(`${type}-`) && name.length > type.length + 1) {
      return { known: true, names: [{ type, id: restore(name.slice(type.length + 1)) }] };
    }
  }
  const names: RecordName[] = [];
  for (let at = name.indexOf('-'); at >= 0; at = name.indexOf('-', at + 1)) {
    const type = name.slice(0, at);
    const id = name.slice(at + 1);
    if (type !== '' && type !== 'creds' && id !== '') {
      names.push({ type, id });
    }
  }
  return { known: false, names };
}
