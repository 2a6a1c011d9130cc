/** Lets a parent process drive a bot over Node's IPC channel: commands in, events out. */
import type { Bot, BotEvent } from './bot.mjs';

export type BotCommand =
  | { command: 'send'; to: string; text: string; id: string }
  | { command: 'create-group'; subject: string; members: string[] }
  | { command: 'pin'; chat: string; pin: boolean }
  | { command: 'close' };

export type BotReport = BotEvent | { type: 'group'; jid: string } | { type: 'pinned'; pin: boolean };

export const isDriven = process.send !== undefined;

export function report(event: BotReport): void {
  if (process.connected) process.send?.(event);
}

/** Obeys the parent until it says `close` or is gone. */
export function obey(bot: Bot): void {
  const run = async (command: BotCommand) => {
    switch (command.command) {
      case 'send':
        await bot.send(command.to, command.text, command.id).catch((error: Error) => {
          report({ type: 'send-failed', id: command.id, reason: error.message });
        });
        break;
      case 'create-group': {
        const { id } = await bot.socket.groupCreate(command.subject, command.members);
        report({ type: 'group', jid: id });
        break;
      }
      case 'pin':
        await bot.socket.chatModify({ pin: command.pin }, command.chat);
        report({ type: 'pinned', pin: command.pin });
        break;
      case 'close':
        await bot.close();
        process.exit(0);
    }
  };
  process.on('message', (command: BotCommand) => void run(command));
  process.on('disconnect', () => process.exit(0));
}
