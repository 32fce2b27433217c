// What copying 16 MiB costs: COUNT times, into memory that was written before (warm) or that is
// allocated for each copy (fresh). Prints bytes per second.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES ((size_t)16 << 20)

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 100;
  int fresh = argc > 2 && strcmp(argv[2], "fresh") == 0;
  char *from = malloc(BYTES), *to = malloc(BYTES);
  memset(from, 1, BYTES);
  memset(to, 2, BYTES);
  double started = now();
  for (long i = 0; i < count; i++) {
    if (fresh) {
      free(to);
      to = malloc(BYTES);
    }
    memcpy(to, from, BYTES);
    __asm__ __volatile__("" : : "r"(to) : "memory");
  }
  printf("%f\n", (double)count * (double)BYTES / (now() - started));
  return to[5] != 1;
}
