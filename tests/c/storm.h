// A storm: workers are killed at any instant and replaced, for some seconds (a program's first
// argument). What they share lies in a block of the region, behind a storm_log.
#ifndef MFI_TESTS_STORM_H
#define MFI_TESTS_STORM_H

#include "world.h"

static struct {
  mfi_self self;
  void (*start)(unsigned i); // forks storm.workers[i]
  unsigned n;                // workers
  unsigned rest_us;          // most time from kill to kill
  worker workers[16];
  uint64_t deaths[16];
  mfi_ref block;
} storm;

static inline void *storm_open(size_t region_bytes, size_t log_bytes) {
  world_open(&storm.self, region_bytes);
  storm.block = mfi_heap_alloc(&storm.self, log_bytes, MFI_BLOCK_BYTES);
  return memset(mfi_payload(mfi_at(&storm.self, storm.block)), 0, log_bytes);
}

// A worker's own reference.
static inline mfi_object *hold(mfi_self *self, mfi_handle h, uint32_t *place) {
  if (mfi_handle_add(self, h, place) != MFI_OK)
    abort();
  return mfi_object_of(self, h);
}

static inline void storm_kill_one(unsigned i) {
  kill(storm.workers[i].pid, SIGKILL);
  CHECK_EQ(worker_join(&storm.self, &storm.workers[i]), 128 + SIGKILL);
  storm.deaths[i]++;
  storm.start(i);
}

static inline void storm_blow(int argc, char **argv) {
  unsigned seed = (unsigned)mfi_os_now();
  printf("seed %u\n", seed);
  for (unsigned i = 0; i < storm.n; i++)
    storm.start(i);
  mfi_ns end = soon(argc > 1 ? strtod(argv[1], NULL) : 3);
  while (mfi_os_now() < end) {
    seed = seed * 1103515245u + 12345u;
    usleep((seed >> 16) % storm.rest_us);
    storm_kill_one((seed >> 8) % storm.n);
  }
}

// Waits for all, who know that it is time to end; frees: helps those who still wait.
static inline void storm_end(void (*frees)(void)) {
  for (unsigned i = 0; i < storm.n; i++) {
    while (waitpid(storm.workers[i].pid, NULL, WNOHANG) == 0) {
      frees();
      usleep(100);
    }
    mfi_slot_bury(&storm.self, storm.workers[i].slot);
  }
}

// Deaths of the workers from `first` on, n of them.
static inline uint64_t storm_deaths(unsigned first, unsigned n) {
  uint64_t sum = 0;
  for (unsigned i = first; i < first + n; i++)
    sum += storm.deaths[i];
  return sum;
}

#endif
