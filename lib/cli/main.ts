#!/usr/bin/env node
import { run } from './run.js';

// `baileys-vault list | head` ends the reader first: that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') {
    process.exit(0);
  }
  throw error;
});

void run(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
