// Queues without Lua, between two processes: what the floors below can do at best.
//   cc -O2 -D_GNU_SOURCE -Iruntime -Itests/c scripts/bench/c/queue_bench.c build/lib/libmoonfleet.a
//   (and -llua5.4 -lpthread -lm -ldl) -o queue_bench && ./queue_bench
// Prints medians of several runs: millions of messages a second, microseconds a round trip.
#include "world.h"

#define RUNS 7
#define BATCH 100

static mfi_self main_self;
static uint64_t count = 2000000;

typedef struct pair {
  mfi_object *there, *back;
} pair;

static void put_singly(mfi_self *self, void *arg) {
  pair *p = arg;
  char text[16] = "0123456789abcdef";
  mfi_bytes b = {text, sizeof text};
  mfi_source src = mfi_source_bytes(&b);
  for (uint64_t i = 0; i < count; i++)
    mfi_queue_put(self, p->there, &src, MFI_NEVER);
}

static void get_singly(mfi_self *self, pair *p) {
  mfi_taken t;
  for (uint64_t i = 0; i < count; i++)
    if (mfi_queue_get(self, p->there, MFI_NEVER, &t) != MFI_OK || t.size != 16)
      abort();
}

static void put_packed(mfi_self *self, void *arg) {
  pair *p = arg;
  char packed[BATCH * 32];
  size_t used = 0;
  uint32_t done;
  for (int i = 0; i < BATCH; i++) {
    memcpy(mfi_queue_pack(packed + used, 16), "0123456789abcdef", 16);
    used += mfi_queue_packed_size(16);
  }
  for (uint64_t i = 0; i < count / BATCH; i++)
    mfi_queue_put_packed(self, p->there, packed, BATCH, MFI_NEVER, &done, &used);
}

static void get_packed(mfi_self *self, pair *p) {
  char got[BATCH * 32];
  size_t used;
  mfi_taken t;
  for (uint64_t i = 0; i < count;) {
    uint32_t n = mfi_queue_get_packed(self, p->there, got, sizeof got, BATCH, &used);
    if (n == 0)
      n = mfi_queue_get(self, p->there, MFI_NEVER, &t) == MFI_OK;
    i += n;
  }
}

static void answer(mfi_self *self, void *arg) {
  pair *p = arg;
  char text[8] = "pong";
  mfi_bytes b = {text, sizeof text};
  mfi_source src = mfi_source_bytes(&b);
  mfi_taken t;
  for (uint64_t i = 0; i < count; i++) {
    mfi_queue_get(self, p->there, MFI_NEVER, &t);
    mfi_queue_put(self, p->back, &src, MFI_NEVER);
  }
}

static void ask(mfi_self *self, pair *p) {
  char text[8] = "ping";
  mfi_bytes b = {text, sizeof text};
  mfi_source src = mfi_source_bytes(&b);
  mfi_taken t;
  for (uint64_t i = 0; i < count; i++) {
    mfi_queue_put(self, p->there, &src, MFI_NEVER);
    mfi_queue_get(self, p->back, MFI_NEVER, &t);
  }
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double seconds_for(work_fn *theirs, void (*mine)(mfi_self *, pair *)) {
  double took[RUNS];
  for (int i = 0; i < RUNS; i++) {
    uint32_t a, b;
    worker w;
    pair p = {mfi_object_of(&main_self, mfi_queue_make(&main_self, 0, 0, &a)),
              mfi_object_of(&main_self, mfi_queue_make(&main_self, 0, 0, &b))};
    mfi_ns begin = mfi_os_now();
    worker_fork(&main_self, &w, theirs, &p);
    mine(&main_self, &p);
    took[i] = (double)(mfi_os_now() - begin) / 1e9;
    worker_join(&main_self, &w);
    mfi_handle_drop(&main_self, a);
    mfi_handle_drop(&main_self, b);
  }
  qsort(took, RUNS, sizeof *took, by_size);
  return took[RUNS / 2];
}

int main(int argc, char **argv) {
  if (argc > 1)
    count = strtoull(argv[1], NULL, 10);
  world_open(&main_self, (size_t)1 << 30);
  printf("16-byte messages, one by one  %6.2f M/s\n",
         (double)count / seconds_for(put_singly, get_singly) / 1e6);
  printf("16-byte messages, 100 at once %6.2f M/s\n",
         (double)count / seconds_for(put_packed, get_packed) / 1e6);
  count /= 4;
  printf("ping-pong                     %6.2f us\n",
         seconds_for(answer, ask) / (double)count * 1e6);
  return 0;
}
