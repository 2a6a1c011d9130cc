import { createInterface } from 'node:readline';
import { interrupted, usage } from './errors.js';

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const BACKSPACE = /[\b\u007f]/;

/**
 * Asks for a secret on the terminal, without showing what is typed.
 *
 * @throws CliError where there is no terminal to ask on
 */
export async function askSecret(question: string, without: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) {
    throw usage(`${question}: there is no terminal to ask on`, without);
  }
  stderr.write(`${question}: `);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let typed = '';
      const hear = (text: string): void => {
        for (const letter of text) {
          if (letter === CTRL_C || letter === CTRL_D) {
            stdin.off('data', hear);
            reject(interrupted());
            return;
          }
          if (letter === '\r' || letter === '\n') {
            stdin.off('data', hear);
            resolve(typed);
            return;
          }
          typed = BACKSPACE.test(letter) ? typed.slice(0, -1) : typed + letter;
        }
      };
      stdin.on('data', hear);
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write('\n');
  }
}

/**
 * Asks a question that only `yes` answers; `without` names the option that answers it in a script.
 *
 * @throws CliError where there is no terminal to ask on
 */
export async function confirm(question: string, without: string): Promise<boolean> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY || !stderr.isTTY) {
    throw usage(`${question} There is no terminal to ask on`, `To answer yes: ${without}`);
  }
  const reader = createInterface({ input: stdin, output: stderr });
  try {
    const answer = await new Promise<string>((resolve, reject) => {
      reader.once('SIGINT', () => reject(interrupted()));
      reader.once('close', () => reject(interrupted()));
      reader.question(`${question} Type yes: `, resolve);
    });
    return answer.trim().toLowerCase() === 'yes';
  } finally {
    reader.close();
  }
}
