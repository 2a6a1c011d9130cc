/** The suite on the built package's embedded stores, and on what they replace. */
import { put } from './put.js';
import { REFERENCE, STORES } from './stores.js';

/** Killing goes on until a fault shows, and the reference's are a matter of luck: 4 of 10 kills find one. */
const REFERENCE_KILLS = 60;

for (const row of STORES) {
  put(row);
}
put(REFERENCE, REFERENCE_KILLS);
