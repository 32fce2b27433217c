// plain_thread COUNT: median seconds of pthread_create + a Lua state with all libraries + join.

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *body(void *unused) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  lua_close(L);
  return unused;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  int count = argc > 1 ? atoi(argv[1]) : 300;
  double *times = calloc((size_t)count, sizeof *times);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    double started = now();
    if (pthread_create(&thread, NULL, body, NULL) != 0)
      return 1;
    pthread_join(thread, NULL);
    times[i] = now() - started;
  }
  qsort(times, (size_t)count, sizeof *times, by_value);
  printf("%.9g\n", times[count / 2]);
  free(times);
  return 0;
}
