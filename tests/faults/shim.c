/* A disk that fails once: loaded before the C library (LD_PRELOAD), it counts writes, flushes, and renames below one
   folder over all processes that share a state file, and makes the chosen one fail in the chosen way.

   The state file (mapped by every process; its name is in FAULT_STATE):
     int64 counter    operations so far
     int64 chosen     the one to fail, counted from 1; 0 for none
     int64 mode       1: nothing is done, I/O error; 2: it is done, and an I/O error is reported; 3: half of a write is
                      done, and then there is no space; 4: nothing is done, no space
     int64 fired      1 once it has failed
     char  folder[]   only paths that begin with this count */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct state { int64_t counter, chosen, mode, fired; char folder[4064]; };
static struct state *state;
static __thread int no_space_for = -1; /* the descriptor whose write was cut short */

__attribute__((constructor)) static void start(void) {
  const char *name = getenv("FAULT_STATE");
  int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory != MAP_FAILED) state = memory;
  close(file);
}

static int counts(const char *path) {
  return state && state->folder[0] && path && !strncmp(path, state->folder, strlen(state->folder));
}

static int counts_open(int file) {
  if (!state || !state->folder[0]) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return counts(path);
}

/* The mode, if this operation is the chosen one; else 0. */
static int64_t turn(void) {
  int64_t number = __atomic_add_fetch(&state->counter, 1, __ATOMIC_SEQ_CST);
  if (number != state->chosen) return 0;
  state->fired = 1;
  return state->mode;
}

static long failed(int64_t mode) { errno = mode >= 3 ? ENOSPC : EIO; return -1; }

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t count) {
  REAL(write);
  if (!counts_open(file)) return real(file, bytes, count);
  if (no_space_for == file) { no_space_for = -1; return failed(3); }
  int64_t mode = turn();
  if (mode == 2) real(file, bytes, count);
  if (mode == 3 && count > 1) { no_space_for = file; return real(file, bytes, count / 2); }
  return mode ? failed(mode) : real(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
  REAL(writev);
  if (!counts_open(file)) return real(file, parts, count);
  int64_t mode = turn();
  if (mode == 2) real(file, parts, count);
  return mode ? failed(mode) : real(file, parts, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  REAL(pwrite64);
  if (!counts_open(file)) return real(file, bytes, count, offset);
  int64_t mode = turn();
  if (mode == 2) real(file, bytes, count, offset);
  return mode ? failed(mode) : real(file, bytes, count, offset);
}

int fsync(int file) {
  REAL(fsync);
  if (!counts_open(file)) return real(file);
  int64_t mode = turn();
  if (mode == 2) real(file);
  return mode ? (int)failed(mode) : real(file);
}

int fdatasync(int file) {
  REAL(fdatasync);
  if (!counts_open(file)) return real(file);
  int64_t mode = turn();
  if (mode == 2) real(file);
  return mode ? (int)failed(mode) : real(file);
}

int rename(const char *from, const char *to) {
  REAL(rename);
  if (!counts(to)) return real(from, to);
  int64_t mode = turn();
  if (mode == 2) real(from, to);
  return mode ? (int)failed(mode) : real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  REAL(renameat);
  if (!counts(to)) return real(from_folder, from, to_folder, to);
  int64_t mode = turn();
  if (mode == 2) real(from_folder, from, to_folder, to);
  return mode ? (int)failed(mode) : real(from_folder, from, to_folder, to);
}
