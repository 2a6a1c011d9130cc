import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ConfigError } from '../errors.js';
import { type Found, fields, flag, isEmpty, join, refuse } from './check.js';
import { type Notes, unset } from './section.js';

/** Certificates as the core takes them: PEM. */
export interface TlsCertificates {
  ca?: string;
  cert?: string;
  key?: string;
  insecure?: boolean;
}

interface TlsSettings {
  /** Whether to connect by TLS; undefined leaves it to the URL. */
  secure: boolean | undefined;
  certificates: TlsCertificates | undefined;
}

const TLS_FIELDS = ['ca', 'cert', 'key', 'passphrase', 'rejectUnauthorized', 'servername'] as const;
const PEM_SHAPE = 'a PEM text, its bytes, or the path of a PEM file';
const PEM = /-----BEGIN [A-Z0-9 ]+-----/;

/**
 * The options `enableTls` and `tls` of a server.
 *
 * @param host the server's name, if there is one; `servername` may say it again
 * @throws ConfigError naming the field, also for a file that cannot be read and a key that does not fit
 */
export function resolveTls(enable: Found, tls: Found, host: string | undefined, notes: Notes): TlsSettings {
  const enabled = enable.value === undefined ? undefined : flag(enable.field, enable.value);
  // `tls: condition ? {} : undefined` is how programs ask for none.
  if (tls.value === undefined) {
    return { secure: enabled, certificates: undefined };
  }
  const secure = tls.value !== false;
  if (enabled !== undefined && enabled !== secure) {
    throw new ConfigError(enable.field, `is ${enabled}, but ${tls.field} says otherwise`);
  }
  if (typeof tls.value === 'boolean') {
    return { secure, certificates: undefined };
  }
  if (typeof tls.value !== 'object') {
    throw refuse(tls.field, 'true, false, or {ca, cert, key, rejectUnauthorized}', tls.value);
  }
  return {
    secure,
    certificates: readCertificates(tls.field, fields(tls.field, tls.value, TLS_FIELDS), host, notes),
  };
}

function readCertificates(
  path: string,
  given: Record<string, unknown>,
  host: string | undefined,
  notes: Notes,
): TlsCertificates | undefined {
  const at = (name: (typeof TLS_FIELDS)[number]): string => join(path, name);
  const read = (name: 'ca' | 'cert' | 'key'): string | undefined => {
    if (!Object.hasOwn(given, name)) {
      return undefined;
    }
    if (isEmpty(given[name])) {
      throw unset(at(name), PEM_SHAPE);
    }
    return pem(at(name), given[name]);
  };
  const ca = read('ca');
  const cert = read('cert');
  const encrypted = read('key');
  const key = encrypted === undefined ? undefined : opened(at, encrypted, given.passphrase);
  if ((cert === undefined) !== (key === undefined)) {
    throw new ConfigError(
      at(cert === undefined ? 'cert' : 'key'),
      `is needed with ${cert === undefined ? 'key' : 'cert'}`,
    );
  }
  for (const [name, part] of [
    ['ca', { ca }],
    ['cert', { cert }],
    ['key', { cert, key }],
  ] as const) {
    matching(at(name), part);
  }
  if (!isEmpty(given.servername) && given.servername !== host) {
    throw new ConfigError(
      at('servername'),
      'must be the name that is connected to: connect by the one in the certificate',
    );
  }
  const insecure =
    given.rejectUnauthorized !== undefined && !flag(at('rejectUnauthorized'), given.rejectUnauthorized);
  if (insecure) {
    notes.warnings.push(
      `${at('rejectUnauthorized')} is false: anybody on the way can read and change what is sent, sealed records excepted`,
    );
  }
  const certificates = {
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(insecure && { insecure }),
  };
  return Object.keys(certificates).length === 0 ? undefined : certificates;
}

function pem(field: string, value: unknown): string {
  if (Array.isArray(value)) {
    return value.map((part, index) => pem(`${field}[${index}]`, part)).join('\n');
  }
  if (value instanceof Uint8Array) {
    const text = Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1');
    return checked(field, text);
  }
  if (typeof value !== 'string' || value === '') {
    throw refuse(field, PEM_SHAPE, value);
  }
  if (PEM.test(value)) {
    // As environment variables hold it, with the two characters \n for each end of a line.
    return value.includes('\n') ? value : value.replaceAll('\\n', '\n');
  }
  let text: string;
  try {
    text = readFileSync(value, 'latin1');
  } catch (cause) {
    throw new ConfigError(field, `expected ${PEM_SHAPE}; no such file can be read`, { cause: codeOf(cause) });
  }
  return checked(field, text);
}

function checked(field: string, text: string): string {
  if (!PEM.test(text)) {
    throw new ConfigError(field, `expected ${PEM_SHAPE}, got bytes that are not PEM`);
  }
  return text;
}

/** A key without its passphrase: the core takes none. */
function opened(at: (name: 'key' | 'passphrase') => string, key: string, passphrase: unknown): string {
  if (isEmpty(passphrase)) {
    return key;
  }
  try {
    const open = createPrivateKey({ key, passphrase: String(passphrase) });
    return String(open.export({ type: 'pkcs8', format: 'pem' }));
  } catch {
    throw new ConfigError(at('passphrase'), `does not open ${at('key')}`);
  }
}

function matching(
  field: string,
  part: { ca?: string | undefined; cert?: string | undefined; key?: string | undefined },
): void {
  if (Object.values(part).every((text) => text === undefined)) {
    return;
  }
  try {
    createSecureContext(Object.fromEntries(Object.entries(part).filter(([, text]) => text !== undefined)));
  } catch (cause) {
    throw new ConfigError(field, 'is not a PEM that can be used here, or does not fit the others', {
      cause: codeOf(cause),
    });
  }
}

/** The code of an error alone: its text may repeat what it was given. */
const codeOf = (cause: unknown): Error =>
  new Error(String((cause as { code?: unknown }).code ?? 'unreadable'));
