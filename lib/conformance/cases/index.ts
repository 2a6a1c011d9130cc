import type { Case } from '../case.js';
import { absence } from './absence.js';
import { aliasing } from './aliasing.js';
import { concurrency } from './concurrency.js';
import { crash } from './crash.js';
import { damage } from './damage.js';
import { extras } from './extras.js';
import { ids } from './ids.js';
import { restarts } from './restarts.js';
import { values } from './values.js';

/** In the order in which they are run: the plain ones first. */
export const CASES: readonly Case[] = [
  ...values,
  ...absence,
  ...ids,
  ...aliasing,
  ...concurrency,
  ...restarts,
  ...extras,
  ...damage,
  ...crash,
];
