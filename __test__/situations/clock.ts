/** Processes whose wall clock is wrong: a library that is loaded before all others adds to what the kernel says. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { makeFolder } from './support.js';

/** The file that CLOCK_SHIFT names holds, as text, how many seconds to add to the time of day; it may change. */
const SOURCE = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
  const char *path = getenv("CLOCK_SHIFT");
  char text[32] = "";
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return 0;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  return length > 0 ? atol(text) : 0;
}
static int is_wall(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  int answer = (int)syscall(SYS_clock_gettime, clock, now);
  if (answer == 0 && is_wall(clock)) now->tv_sec += shift();
  return answer;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec at;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &at) != 0) return -1;
  now->tv_sec = at.tv_sec;
  now->tv_usec = at.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  if (out) *out = at.tv_sec;
  return at.tv_sec;
}
`;

/** Why this cannot be had here, or nothing. */
export const noClocks = process.platform === 'linux' ? {} : { skip: 'needs LD_PRELOAD' };

/** A wall clock for processes that are started with `env`. */
export interface Clock {
  readonly env: NodeJS.ProcessEnv;
  /** Puts it so many seconds ahead of the right time, also under processes that run. */
  set(seconds: number): void;
}

/** Makes clocks for the processes of a test. */
export async function clockmaker(t: TestContext): Promise<(seconds: number) => Clock> {
  const folder = await makeFolder(t);
  const library = join(folder, 'clock.so');
  await writeFile(join(folder, 'clock.c'), SOURCE);
  execFileSync('cc', ['-shared', '-fPIC', '-O2', '-o', library, join(folder, 'clock.c'), '-ldl']);
  let made = 0;
  return (seconds) => {
    const file = join(folder, `shift-${++made}`);
    const set = (shift: number): void => writeFileSync(file, String(shift));
    set(seconds);
    return { env: { LD_PRELOAD: library, CLOCK_SHIFT: file }, set };
  };
}
