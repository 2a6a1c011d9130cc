import { ok } from 'node:assert/strict';
import type { Case } from '../case.js';
import { killLoop } from '../kill-loop.js';

const DEFAULT_KILLS = 8;

export const crash: readonly Case[] = [
  {
    id: 'crash.kill',
    title:
      'keeps every acknowledged patch, whole, and the credentials when the process is killed while writing',
    needs: 'crash',
    timeoutMs: 300_000,
    run: async (bench) => {
      const { crash } = bench.options;
      ok(crash !== undefined);
      const { acknowledged } = await killLoop({
        module: crash.module,
        exportName: crash.exportName ?? 'default',
        execArgv: crash.execArgv ?? process.execArgv,
        kills: crash.kills ?? DEFAULT_KILLS,
        location: await bench.location(),
        depth: 1,
        open: () => bench.start(),
      });
      ok(acknowledged > 0, 'no process acknowledged a patch before it was killed');
    },
  },
];
