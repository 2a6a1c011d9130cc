import { type Digests, differences, digestsOf, Totals } from './digest.js';
import { eachSession, type Outcome } from './each-session.js';
import { CliError, noSuchSession } from './errors.js';
import { refuseHeld } from './holders.js';
import type { Output } from './output.js';
import type { SessionStore, StoredSession } from './stores/store.js';
import { moment } from './text.js';

export interface CopyOptions {
  from: SessionStore;
  to: SessionStore;
  sessions: readonly string[];
  /** What a session is called in `to`. */
  nameIn: (sessionId: string) => string;
  jobs: number | undefined;
  /** Look, and write nothing. */
  dryRun: boolean;
  output: Output;
  signal: AbortSignal;
}

export interface CopyReport extends Outcome {
  /** Of a dry run: that would be. */
  copied: number;
  /** Already there with the same values, as after a run that was broken off. */
  equal: number;
  /** Over all sessions that are in both stores now, as they were read back; of a dry run, as they were read. */
  digests: Digests;
}

/** Copies sessions by value, each whole or not at all, and compares each with what is stored afterwards. */
export async function copySessions(options: CopyOptions): Promise<CopyReport> {
  const totals = new Totals();
  const counts = { copied: 0, equal: 0 };
  const doing = options.dryRun ? 'reading' : 'copying';
  const outcome = await eachSession({ ...options, doing }, async (sessionId) => {
    const { outcome, digests } = await copySession(options, sessionId);
    counts[outcome] += 1;
    totals.add(sessionId, digests);
  });
  return { ...outcome, ...counts, digests: totals.digests() };
}

interface Copied {
  outcome: 'copied' | 'equal';
  digests: Digests;
}

async function copySession({ from, to, nameIn, dryRun }: CopyOptions, sessionId: string): Promise<Copied> {
  const name = nameIn(sessionId);
  if (await to.exists(name)) {
    return await compareWithTarget(from, to, sessionId, name);
  }
  if (dryRun) {
    const source = present(await from.read(sessionId), sessionId, from);
    await refuseHeld(from, sessionId);
    await refuseHeld(to, name);
    return { outcome: 'copied', digests: digestsOf(source.records) };
  }
  return await from.hold(sessionId, async (found) => {
    const source = present(found, sessionId, from);
    const digests = digestsOf(source.records);
    await to.create(name, source);
    const stored = await to.readBack(name, source);
    const differing = stored === undefined ? ['all of it'] : differences(digests, digestsOf(stored.records));
    if (differing.length > 0) {
      throw new CliError(
        'NOT_EQUAL',
        `${JSON.stringify(name)} in ${to.shown} is not what was written: ${differing.join(', ')}. Delete it there`,
      );
    }
    return { outcome: 'copied', digests };
  });
}

async function compareWithTarget(
  from: SessionStore,
  to: SessionStore,
  sessionId: string,
  name: string,
): Promise<Copied> {
  const [source, target] = [await from.read(sessionId), await to.read(name)];
  const digests = digestsOf(present(source, sessionId, from).records);
  const differing = differences(digests, digestsOf(target?.records ?? []));
  if (differing.length === 0) {
    return { outcome: 'equal', digests };
  }
  throw new CliError(
    'SESSION_EXISTS',
    `${to.shown} has another state of it, ${ageOf(source, target)}; they differ in ${differing.join(', ')}. ` +
      'Nothing is overwritten: delete it there if the copy is to win',
  );
}

/** Which of the two was written last, as far as both say so. */
function ageOf(source: StoredSession | undefined, target: StoredSession | undefined): string {
  const [ours, theirs] = [source?.updatedAt, target?.updatedAt];
  if (ours === undefined || theirs === undefined) {
    return 'of a time that is not known';
  }
  return `${theirs > ours ? 'newer' : 'older'} than the source, last written ${moment(theirs)}`;
}

function present(session: StoredSession | undefined, sessionId: string, store: SessionStore): StoredSession {
  if (session === undefined) {
    throw noSuchSession(sessionId, store.shown);
  }
  return session;
}
