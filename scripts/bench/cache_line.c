// cache_line COUNT: seconds of one round trip of a cache line between two processes that spin on
// it (the median of blocks of 1000). Nothing that two cores say to each other can be faster: the
// measure beside our latencies.

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Waits for `value`, letting others have the core when it does not come soon.
static void await(_Atomic unsigned *word, unsigned value) {
  for (unsigned n = 1; atomic_load_explicit(word, memory_order_acquire) != value; n++)
    if (n % 4096 == 0)
      sched_yield();
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void answer(_Atomic unsigned *word, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    await(word, 2 * i + 1);
    atomic_store_explicit(word, 2 * i + 2, memory_order_release);
  }
}

static void ask(_Atomic unsigned *word, unsigned from, unsigned to) {
  for (unsigned i = from; i < to; i++) {
    atomic_store_explicit(word, 2 * i + 1, memory_order_release);
    await(word, 2 * i + 2);
  }
}

int main(int argc, char **argv) {
  enum { BLOCK = 1000 };
  unsigned blocks = (argc > 1 ? (unsigned)atoi(argv[1]) : 100000) / BLOCK + 1;
  double *times = calloc(blocks, sizeof *times);
  _Atomic unsigned *word =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (word == MAP_FAILED || times == NULL)
    return 1;
  if (fork() == 0) {
    answer(word, blocks * BLOCK);
    _exit(0);
  }
  for (unsigned b = 0; b < blocks; b++) {
    double started = now();
    ask(word, b * BLOCK, (b + 1) * BLOCK);
    times[b] = (now() - started) / BLOCK;
  }
  wait(NULL);
  qsort(times, blocks, sizeof *times, by_value);
  printf("%.9g\n", times[blocks / 2]);
  free(times);
  return 0;
}
