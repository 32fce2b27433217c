// plain_fork COUNT: median seconds of fork + a Lua state with all libraries + exit + wait, in a
// process that is as small as it can be.

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 300;
  double *times = calloc((size_t)count, sizeof *times);
  for (int i = 0; i < count; i++) {
    double started = now();
    pid_t pid = fork();
    if (pid < 0)
      return 1;
    if (pid == 0) {
      lua_State *L = luaL_newstate();
      luaL_openlibs(L);
      lua_close(L);
      _exit(0);
    }
    waitpid(pid, NULL, 0);
    times[i] = now() - started;
  }
  qsort(times, (size_t)count, sizeof *times, by_value);
  printf("%.9g\n", times[count / 2]);
  free(times);
  return 0;
}
