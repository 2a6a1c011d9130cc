import type { Command } from '../command.js';
import { backup } from './backup.js';
import { completionOf } from './completion.js';
import { copy } from './copy.js';
import { deleteSession } from './delete.js';
import { doctor } from './doctor.js';
import { exportSession } from './export.js';
import { importSessions } from './import.js';
import { keygen } from './keygen.js';
import { list } from './list.js';
import { restore } from './restore.js';
import { rotateKey } from './rotate-key.js';
import { show } from './show.js';
import { verify } from './verify.js';

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  list,
  show,
  verify,
  doctor,
  copy,
  importSessions,
  exportSession,
  backup,
  restore,
  rotateKey,
  deleteSession,
  keygen,
  completionOf(() => COMMANDS),
];
