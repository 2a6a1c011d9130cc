/**
 * `npm run dev`: builds the addon in Cargo's dev profile, if the Rust sources have changed since it was built, then
 * keeps `dist` up to date and shows type errors as `lib` changes. Tests run beside it: `npm test -- <text>`.
 */
import { markTypeScriptBuilt, setUp } from './setup.mjs';

setUp({ native: 'dev', typescript: true });
// Needs what the set-up may only now have installed.
const { watch } = await import('./build-ts.mjs');
watch(markTypeScriptBuilt);
