import type { Command } from '../command.js';
import { completionOf } from './completion.js';
import { keygen } from './keygen.js';

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [keygen, completionOf(() => COMMANDS)];
