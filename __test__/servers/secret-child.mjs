/**
 * An owner with secrets: `node secret-child.mjs <task as JSON>`. Opens a session, stores its creds and says
 * `open <private identity key as hex>`; on `write` it stores the task's secret in many forms, and says `written`.
 */
import { createInterface } from 'node:readline';
import { say } from '../support/say.mjs';
import { openPatiently } from './open.mjs';

const { place, session, secret } = JSON.parse(process.argv[2]);

const { state, saveCreds } = await openPatiently(place, session);
await saveCreds();
say('open', state.creds.signedIdentityKey.private.toString('hex'));

const bytes = Buffer.from(secret, 'hex');
const text = bytes.toString('hex');
for await (const _ of createInterface({ input: process.stdin })) {
  await state.keys.set({
    session: {
      a: {
        hex: text,
        upper: text.toUpperCase(),
        base64: [0, 1, 2].map((n) =>
          Buffer.concat([Buffer.alloc(n), bytes, Buffer.alloc(4)]).toString('base64'),
        ),
        base64url: bytes.toString('base64url'),
        json: JSON.stringify(bytes),
      },
    },
    'pre-key': { 1: { public: bytes, private: bytes } },
  });
  say('written');
}
