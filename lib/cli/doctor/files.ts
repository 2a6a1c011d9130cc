import { chmod, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { RecordEntry } from '../../codec/index.js';
import { inspectCredsFile } from '../../folder/marker.js';
import { CREDS_FILE, recordNamesOf } from '../../import/file-names.js';
import { parse, readBytes } from '../../import/read-file.js';
import { surveyFolder } from '../../import/survey.js';
import { CREDS_ID, CREDS_TYPE } from '../../store/records.js';
import type { Code, Finding } from './catalogue.js';

const PRIVATE = 0o700;
const OTHERS = 0o077;
/** How JSON writes a Buffer without BufferJSON; spaces as a printer may put them. */
const LIST_OF_BYTES = /"type"\s*:\s*"Buffer"\s*,\s*"data"\s*:\s*\[/;
const PUT_ASIDE = /^(imported|ignored)-\d/;

interface Inspected {
  findings: Finding[];
  /** Of all files that are whole. */
  records: RecordEntry[];
}

/** Looks at every file of a folder of Baileys' own function, where an import would stop at the first that is torn. */
export async function inspectFolder(sessionId: string, folder: string, fix: boolean): Promise<Inspected> {
  const findings: Finding[] = [];
  const records: RecordEntry[] = [];
  const add = (code: Code, what: string): void => {
    findings.push({ code, sessionId, what });
  };
  const survey = await surveyFolder(folder);
  const listed: string[] = [];
  const read = async (file: string): Promise<unknown> => {
    const bytes = await readBytes(folder, file);
    const content = parse(bytes ?? Buffer.of());
    if (bytes !== undefined && LIST_OF_BYTES.test(bytes.toString('latin1'))) {
      listed.push(file);
    }
    if (!content.ok) {
      add(file === CREDS_FILE ? 'CREDS_TORN' : 'FILE_TORN', `${file}: ${content.reason}`);
      return undefined;
    }
    return content.value;
  };
  if (survey.creds.includes(CREDS_FILE)) {
    const value = await read(CREDS_FILE);
    // Creds that are torn are not missing; what is known of them was said.
    records.push({ type: CREDS_TYPE, id: CREDS_ID, value: value ?? {} });
  }
  for (const [file, names] of survey.keys) {
    const value = names.includes(file) ? await read(file) : undefined;
    const [name] = recordNamesOf(file).names;
    if (value !== undefined && value !== null && name !== undefined) {
      records.push({ ...name, value });
    }
  }
  const leftovers = [...survey.creds, ...[...survey.keys.values()].flat()].filter((name) =>
    /\.(tmp|bak)$/.test(name),
  );
  if (leftovers.length > 0) {
    add('FILE_LEFTOVER', leftovers.join(', '));
  }
  const foreign = [...survey.others, ...survey.doubtful];
  if (foreign.length > 0) {
    add('FILE_FOREIGN', foreign.sort().join(', '));
  }
  if (listed.length > 0) {
    add('BYTES_AS_ARRAY', listed.join(', '));
  }
  findings.push(...(await examineModes(sessionId, folder, fix)));
  return { findings, records };
}

/** Whoever may enter the folder may read what is in it; files of Baileys are written for all. */
async function examineModes(sessionId: string | null, folder: string, fix: boolean): Promise<Finding[]> {
  const { mode } = await stat(folder);
  if (process.platform === 'win32' || (mode & OTHERS) === 0) {
    return [];
  }
  if (fix) {
    await chmod(folder, PRIVATE);
  }
  return [
    {
      code: 'FILES_READABLE',
      sessionId,
      what: `${folder} has mode ${(mode & 0o777).toString(8)}`,
      fixed: fix,
    },
  ];
}

/** Looks at what lies in a folder of Baileys Vault beside its database. */
export async function inspectVaultFolder(folder: string, fix: boolean): Promise<Finding[]> {
  const findings = await examineModes(null, folder, fix);
  if (inspectCredsFile(folder).kind === 'foreign') {
    findings.push({ code: 'FOREIGN_FILES', sessionId: null, what: join(folder, CREDS_FILE) });
  }
  const aside = (await readdir(folder, { withFileTypes: true })).filter(
    (entry) => entry.isDirectory() && PUT_ASIDE.test(entry.name),
  );
  if (aside.length > 0) {
    findings.push({
      code: 'IMPORTED_FILES_LEFT',
      sessionId: null,
      what: aside
        .map(({ name }) => name)
        .sort()
        .join(', '),
    });
  }
  return findings;
}
