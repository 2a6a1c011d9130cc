import { type Command, defineCommand } from '../command.js';
import { bashCompletion, zshCompletion } from '../completion.js';

/** It completes itself too, so it is made of the list that it is in. */
export function completionOf(others: () => readonly Command[]): Command {
  return defineCommand({
    name: 'completion',
    summary: 'Prints a script that completes commands and options in bash or zsh',
    args: [{ name: 'shell', about: 'bash or zsh', required: true, choices: ['bash', 'zsh'] }],
    options: {},
    examples: [
      'completion bash > /etc/bash_completion.d/baileys-vault',
      'completion zsh > ~/.zfunc/_baileys-vault',
    ],
    async run({ args }) {
      const script = args[0] === 'bash' ? bashCompletion(others()) : zshCompletion(others());
      return { data: { shell: args[0], script }, text: () => script };
    },
  });
}
