/** Killed between the import and the move of the files: the next start finishes it. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import {
  ACCOUNT,
  bot,
  GET,
  isOurs,
  KEYS,
  killedBot,
  makeAuth,
  movedInto,
  namesIn,
  paired,
  writeFiles,
} from './folder.js';
import { runNode } from './support.js';

for (const [when, kill] of [
  ['before anything was moved', { call: 'mkdir', times: 1 }],
  ['when one file was moved', { call: 'rename', times: 2 }],
  ['before the creds were moved', { call: 'rename', times: 4 }],
] as const) {
  for (const after of ['its next start', 'its deletion']) {
    test(`killed between the import and the move, ${when}: ${after} finishes it`, async (t) => {
      const folder = await makeAuth(t);
      const secret = await writeFiles(folder, paired(ACCOUNT), KEYS);
      const files = readdirSync(folder).sort();
      await killedBot(t, folder, { kill });
      assert.ok(existsSync(join(folder, 'creds.json')) && !isOurs(folder));
      if (after === 'its deletion') {
        // By a program that looks at the store alone.
        const program =
          "const { useHybridAuthState } = require('baileys-vault'); (async () => { const { store } = await " +
          "useHybridAuthState({ sessionId: 'x', embedded: { path: process.argv[1] } }); " +
          "console.log(await store.delete('default')); await store.close(); })()";
        const { stdout, stderr } = await runNode(t, ['-e', program, folder]);
        assert.equal(stdout, 'true\n', stderr);
      }
      const next = await bot(t, folder, { steps: [GET] });
      const into = movedInto(folder, 'imported');
      assert.deepEqual(readdirSync(into).sort(), files);
      if (after === 'its deletion') {
        assert.equal(next.error, undefined);
        assert.notEqual(next.secret, secret);
        assert.deepEqual(namesIn(folder), [basename(into)]);
      } else {
        assert.equal(next.secret, secret);
        assert.deepEqual(next.results, [KEYS.session]);
        assert.deepEqual(namesIn(folder), ['creds.json', basename(into)]);
        assert.ok(isOurs(folder));
      }
    });
  }
}
