/**
 * Wants a session: `node contender.mjs <task as JSON>`. Says one JSON object: `{ now, version, updatedAt }` when it
 * has got it, else `{ now, code, message, holder }`; `now` is what it takes for the time.
 */
import { open } from '../../servers/open.mjs';

const { place, session, openTimeout } = JSON.parse(process.argv[2]);

const now = Date.now();
try {
  const { state, saveCreds, store } = await open(place, session, { openTimeout });
  await state.keys.set({ 'sender-key': { contender: { now } } });
  await saveCreds();
  const { version, updatedAt } = await store.get(session);
  await store.close();
  console.log(JSON.stringify({ now, version, updatedAt: Number(updatedAt) }));
} catch ({ code, message, details }) {
  console.log(JSON.stringify({ now, code, message, holder: details?.holder }));
}
