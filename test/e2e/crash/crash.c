// Ends a process by -9 at a chosen step of what it writes to its store; for LD_PRELOAD.
//
//   CRASH_UNDER  folder: only calls on files in it count
//   CRASH_AT     CALL:NUMBER:HOW, the NUMBER-th (from 1) call of
//                  write   before | half (of the bytes are written) | after
//                  sync    before | after (fdatasync)
//                  rename  before | after
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int calls;

static void End(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// How the step says to end at this call; NULL: go on.
static const char* Step(const char* call, const char* path) {
  const char* under = getenv("CRASH_UNDER");
  const char* at = getenv("CRASH_AT");
  const size_t length = strlen(call);
  if (under == NULL || at == NULL || strncmp(path, under, strlen(under)) != 0) return NULL;
  if (strncmp(at, call, length) != 0 || at[length] != ':') return NULL;
  char* how = NULL;
  const long number = strtol(at + length + 1, &how, 10);
  return atomic_fetch_add(&calls, 1) + 1 == number && *how == ':' ? how + 1 : NULL;
}

static const char* StepOf(const char* call, int fd) {
  char link[64];
  char path[PATH_MAX + 1];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, PATH_MAX);
  if (length < 0) return NULL;
  path[length] = 0;
  return Step(call, path);
}

ssize_t write(int fd, const void* data, size_t size) {
  ssize_t (*next)(int, const void*, size_t) = dlsym(RTLD_NEXT, "write");
  const char* how = StepOf("write", fd);
  if (how == NULL) return next(fd, data, size);
  if (strcmp(how, "before") != 0) {
    (void)!next(fd, data, strcmp(how, "half") == 0 ? size / 2 : size);
  }
  End();
  return -1;
}

int fdatasync(int fd) {
  int (*next)(int) = dlsym(RTLD_NEXT, "fdatasync");
  const char* how = StepOf("sync", fd);
  if (how == NULL) return next(fd);
  if (strcmp(how, "after") == 0) next(fd);
  End();
  return -1;
}

int rename(const char* from, const char* to) {
  int (*next)(const char*, const char*) = dlsym(RTLD_NEXT, "rename");
  const char* how = Step("rename", from);
  if (how == NULL) return next(from, to);
  if (strcmp(how, "after") == 0) next(from, to);
  End();
  return -1;
}
