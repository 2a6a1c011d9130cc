/**
 * A new master key beside a bot that goes on writing: killed half-way and begun again, nothing is unreadable at any moment,
 * and at the end nothing is sealed with the old key.
 */
import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { digestsOf } from '../../lib/cli/digest.js';
import type { AuthStateResult } from '../../lib/index.js';
import { startNode } from '../situations/support.js';
import { describeWith } from '../support/services.js';
import { EMBEDDED, HYBRID, type Place, type PlaceKind, SERVERS } from './places.js';
import { cli, json, KEY, OLD_KEY } from './support.js';

const NEW = { env: { BAILEYS_VAULT_MASTER_KEY: KEY } };
const BOTH = { env: { ...NEW.env, BAILEYS_VAULT_PREVIOUS_MASTER_KEYS: OLD_KEY } };
const KEYS = { masterKey: KEY, previousMasterKeys: [OLD_KEY] };
const SESSION = 'bot-1';
/** Records that are stored in one patch. */
const PATCH = 5_000;

const REDIS = SERVERS[0] as PlaceKind;
const KINDS: readonly [kind: PlaceKind, records: number][] = [
  [EMBEDDED, 100_000],
  [REDIS, 100_000],
  [HYBRID, 4_000],
];

interface Values {
  numberOf(number: number, records: number): string;
  recordValue(id: string, number?: number): { text: string; number?: number };
}

/** What of the records is stored, as the bot reads it. */
async function openStored(place: Place, keys: object, session = SESSION): Promise<AuthStateResult> {
  const { baileys, vault } = await import('../crash/light.mjs');
  const { hook, args } = place.bot(session, keys) as { hook: 'useRedisAuthState'; args: [object] };
  const silent = (): void => {};
  const logger = { debug: silent, info: silent, warn: silent, error: silent };
  return await vault[hook]({ baileys, logger, ...args[0] } as never);
}

async function fill(place: Place, records: number, { recordValue }: Values): Promise<void> {
  const { state, saveCreds, store } = await openStored(place, { masterKey: OLD_KEY });
  await saveCreds();
  for (let from = 0; from < records; from += PATCH) {
    const ids = Array.from({ length: Math.min(PATCH, records - from) }, (_, at) => String(from + at));
    await state.keys.set({ 'pre-key': Object.fromEntries(ids.map((id) => [id, recordValue(id)])) } as never);
  }
  await store.close();
}

/** A bot under way, and what it has said so far. */
function start(t: TestContext, place: Place, records: number, from: number) {
  const task = { place: place.bot(SESSION, KEYS), records, from };
  const bot = startNode(t, [`${__dirname}/rotating-bot.mjs`, JSON.stringify(task)]);
  const heard = { acked: from - 1, sealed: 0, rotated: undefined as number | undefined };
  let rest = '';
  const waiting: (() => void)[] = [];
  bot.child.stdout.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() as string;
    for (const line of lines) {
      const [word = '', count] = line.split(' ');
      if (word in heard) {
        heard[word as keyof typeof heard] = Number(count);
      }
    }
    for (const look of waiting) {
      look();
    }
  });
  /** Until something was heard; fails if the bot ends before. */
  const until = (is: (now: typeof heard) => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (is(heard)) {
          resolve();
        }
      };
      waiting.push(look);
      look();
      bot.ended.then(({ stdout, stderr }) => {
        reject(new Error(`the bot ended: ${stdout.split('\n').slice(-3).join(' ')} ${stderr}`));
      }, reject);
    });
  return { bot, heard, until };
}

/** Compares every record with what it must be after the writes up to `acked`, of which `doubtful` may not have been made. */
async function compare(
  place: Place,
  keys: object,
  [records, acked, doubtful]: [records: number, acked: number, doubtful: number],
  values: Values,
): Promise<Map<string, unknown>> {
  const written = new Map<string, number>();
  for (let number = 1; number <= Math.max(acked, doubtful); number++) {
    written.set(values.numberOf(number, records), number);
  }
  const all = new Map<string, unknown>();
  const { state, store } = await openStored(place, keys);
  for (let from = 0; from < records; from += PATCH) {
    const ids = Array.from({ length: Math.min(PATCH, records - from) }, (_, at) => String(from + at));
    const found = (await state.keys.get('pre-key', ids)) as Record<string, { number?: number } | undefined>;
    for (const id of ids) {
      const number = written.get(id);
      const isMissing = number === doubtful && found[id]?.number === undefined;
      const expected = values.recordValue(id, isMissing ? undefined : number);
      if (JSON.stringify(found[id]) !== JSON.stringify(expected)) {
        assert.deepEqual(found[id], expected, `record ${id}`);
      }
      all.set(id, expected);
    }
  }
  await store.close();
  return all;
}

interface Count {
  records: number;
  stale: number;
  keys: Record<string, number>;
}

const count = (t: TestContext, { address }: Place, options: object): Promise<Count> =>
  json(t, ['rotate-key', '--store', address, '--dry-run'], options) as unknown as Promise<Count>;

for (const [{ name, needs, make }, records] of KINDS) {
  describeWith(needs, `rotation on ${name}`, () => {
    it(`of ${records} records beside a bot that writes, killed half-way`, async (t) => {
      const values = await import('./rotation-values.mjs');
      const place = await make(t);
      await fill(place, records, values);
      const before = await count(t, place, NEW);
      assert.deepEqual([before.records, before.stale], [records + 1, records + 1]);

      const first = start(t, place, records, 1);
      await first.until(({ sealed, acked }) => sealed >= records * 0.4 && acked > 20);
      first.bot.child.kill('SIGKILL');
      const { stdout } = await first.bot.ended;
      assert.doesNotMatch(stdout, /unreadable|rotated/);
      const doubtful = first.heard.acked + 1;
      await compare(place, KEYS, [records, first.heard.acked, doubtful], values);
      const half = await count(t, place, BOTH);
      assert.ok(half.stale > 0 && half.stale <= records * 0.6 + 1, `${half.stale} are left`);

      const second = start(t, place, records, doubtful + 1);
      let looked = 0;
      if (needs.length > 0) {
        await second.until(({ acked }) => acked > doubtful);
        // Whoever reads from elsewhere can read every record as well.
        const { store } = await openStored(place, KEYS, 'watcher');
        do {
          await store.verify();
          looked += 1;
        } while (second.heard.rotated === undefined);
        await store.delete();
        await store.close();
        // A session that a bot holds is left to it, and one that it has sealed anew needs nothing.
        const done = await json(t, ['rotate-key', '--store', place.address], BOTH);
        assert.deepEqual([done.resealed, done.notDone], [0, []]);
      }
      await second.until(({ rotated }) => rotated !== undefined);
      // It went on where the first was, and did not begin anew.
      assert.ok((second.heard.rotated as number) <= half.stale, `${second.heard.rotated} of ${half.stale}`);
      second.bot.child.stdin.end();
      const { code, stderr, stdout: said } = await second.bot.ended;
      assert.deepEqual([code, /unreadable/.test(said)], [0, false], stderr);

      const after = await count(t, place, NEW);
      assert.equal(after.stale, 0);
      assert.equal(Object.keys(after.keys).length, 1, 'only the new key seals anything');
      assert.equal((await json(t, ['verify', '--store', place.address], NEW)).sound, true);
      const { acked } = second.heard;
      const all = await compare(place, { masterKey: KEY }, [records, acked, doubtful], values);
      const { types } = (await json(t, ['show', SESSION, '--store', place.address], NEW)) as unknown as {
        types: Record<string, { sha256: string }>;
      };
      const entries = [...all].map(([id, value]) => ({ type: 'pre-key', id, value }));
      assert.equal(types['pre-key']?.sha256, digestsOf(entries).get('pre-key')?.sha256);
      t.diagnostic(
        `${first.heard.acked} and ${acked - first.heard.acked} writes beside it, ${looked} looks from elsewhere`,
      );
    });
  });
}

describeWith(['redis'], 'rotate-key', () => {
  it('says of a session that a bot holds how much is left to that bot', async (t) => {
    const values = await import('./rotation-values.mjs');
    const place = await REDIS.make(t);
    await fill(place, 100, values);
    const { store } = await openStored(place, KEYS);
    const { code, stdout } = await cli(t, ['rotate-key', '--store', place.address, '--json'], BOTH);
    assert.equal(code, 4);
    const { notDone } = JSON.parse(stdout) as { notDone: { code: string; message: string }[] };
    assert.equal(notDone[0]?.code, 'SESSION_BUSY');
    assert.match(
      notDone[0]?.message ?? '',
      new RegExp(`held by process ${process.pid} .*101 records to seal anew: .*store\\.rotateKey\\(\\)`),
    );
    const steps: number[] = [];
    const onProgress = ({ resealed }: { resealed: number }): void => void steps.push(resealed);
    assert.deepEqual(await store.rotateKey(undefined, { onProgress }), { resealed: 101, total: 101 });
    assert.equal(steps.at(-1), 101);
    assert.equal((await store.seals()).stale, 0);
    await assert.rejects(store.rotateKey(undefined, { signal: AbortSignal.abort() }), /abort/i);
    await store.close();
  });
});
