// A storm of random kills over the lower floors: producers and consumers of two queues, holders of
// a lock and of permits are killed at any instant and replaced, for some seconds (first argument).
// Then every promise is checked: each message that was put was got once, or died with one consumer;
// the lock's counter lost no count; permits are all there; nothing is left over.
#include "storm.h"

#define PRODUCERS 2
#define CONSUMERS 2
#define HOLDERS 2
#define WORKERS (PRODUCERS + CONSUMERS + HOLDERS)
#define MOST 2000000 // messages of one producer

// Shared by all, in a block.
typedef struct log {
  uint32_t stop;
  uint64_t tried[PRODUCERS], put[PRODUCERS]; // by the producer alone; put: the call has returned
  uint64_t twice, torn, stuck;
  uint64_t counted, holds; // under the script lock: equal when nobody holds it
  uint32_t inside;         // holders of permits
  unsigned char got[PRODUCERS][MOST / 8];
} log;

static log *shared;
static mfi_handle queue, narrow, named, lock, permits;

typedef struct role {
  unsigned index;
} role;

static mfi_status put_one(mfi_self *self, mfi_object *o, uint64_t n) {
  char bytes[1000];
  size_t size = n % 5 == 0 ? 8 + n * 31 % 900 : 8 + n % 60;
  memset(bytes, (int)(n % 251), size);
  memcpy(bytes, &n, sizeof n);
  mfi_bytes b = {bytes, size};
  mfi_source src = mfi_source_bytes(&b);
  src.refs = &named;
  src.nrefs = n % 11 == 0;
  return mfi_queue_put(self, o, &src, soon(LONG_SECONDS));
}

static void produce(mfi_self *self, void *arg) {
  unsigned p = ((role *)arg)->index;
  uint32_t a, b;
  mfi_object *q[2] = {hold(self, queue, &a), hold(self, narrow, &b)};
  uint64_t *tried = &shared->tried[p];
  while (load_relaxed(&shared->stop) == 0) {
    if (*tried + 1 == MOST) {
      usleep(1000);
      continue;
    }
    store_release(tried, *tried + 1);
    mfi_status st = put_one(self, q[*tried % 2], (uint64_t)p << 32 | *tried);
    if (st == MFI_OK)
      fetch_add_seqcst(&shared->put[p], (uint64_t)1);
    else
      fetch_add_seqcst(&shared->stuck, (uint64_t)1);
  }
}

static void note(uint64_t n, size_t size) {
  uint64_t p = n >> 32, i = n & UINT32_MAX;
  if (n == 0 || p >= PRODUCERS || i >= MOST || size < 8) {
    fetch_add_seqcst(&shared->torn, (uint64_t)1);
    return;
  }
  uint32_t *word = (uint32_t *)(void *)shared->got[p] + i / 32, bit = 1u << i % 32;
  if ((fetch_or_seqcst(word, bit) & bit) != 0)
    fetch_add_seqcst(&shared->twice, (uint64_t)1);
}

static bool get_one(mfi_self *self, mfi_object *o, mfi_ns until) {
  mfi_taken t;
  if (mfi_queue_get(self, o, until, &t) != MFI_OK)
    return false;
  note(number_in(t.bytes, t.size), t.size);
  if (t.block != 0)
    mfi_message_free(self, t.block);
  return true;
}

static void consume(mfi_self *self, void *arg) {
  unsigned c = ((role *)arg)->index;
  uint32_t a, b;
  mfi_object *q[2] = {hold(self, queue, &a), hold(self, narrow, &b)};
  for (unsigned i = c; load_relaxed(&shared->stop) == 0; i++) {
    if (get_one(self, q[i % 2], soon(0.002)))
      while (get_one(self, q[i % 2], 0) && load_relaxed(&shared->stop) == 0)
        continue;
  }
}

static void count_under_lock(mfi_self *self, mfi_object *o) {
  bool abandoned;
  if (mfi_lock_acquire(self, o, soon(LONG_SECONDS), &abandoned) != MFI_OK) {
    fetch_add_seqcst(&shared->stuck, (uint64_t)1);
    return;
  }
  if (abandoned)
    store_relaxed(&shared->counted, load_relaxed(&shared->holds));
  if (load_relaxed(&shared->counted) != load_relaxed(&shared->holds))
    fetch_add_seqcst(&shared->torn, (uint64_t)1);
  store_relaxed(&shared->holds, load_relaxed(&shared->holds) + 1);
  keep_program_order();
  store_relaxed(&shared->counted, load_relaxed(&shared->counted) + 1);
  mfi_lock_release(self, o);
}

static void hold_things(mfi_self *self, void *arg) {
  uint32_t a, b, c;
  mfi_object *l = hold(self, lock, &a), *s = hold(self, permits, &b);
  MFI_UNUSED(arg);
  while (load_relaxed(&shared->stop) == 0) {
    count_under_lock(self, l);
    if (mfi_semaphore_acquire(self, s, b, soon(LONG_SECONDS)) != MFI_OK)
      fetch_add_seqcst(&shared->stuck, (uint64_t)1);
    else
      mfi_semaphore_release(self, s, b, 1);
    mfi_queue_make(self, 0, 0, &c);
    mfi_ref block = mfi_heap_alloc(self, 70000, MFI_BLOCK_BYTES);
    mfi_heap_free(self, block);
    mfi_handle_drop(self, c);
  }
}

// ---- The storm

static role roles[WORKERS];

static void start(unsigned i) {
  roles[i].index = i < PRODUCERS ? i : i - PRODUCERS;
  work_fn *fn = i < PRODUCERS ? produce : i < PRODUCERS + CONSUMERS ? consume : hold_things;
  worker_fork(&storm.self, &storm.workers[i], fn, &roles[i]);
}

// A producer may wait for room that nobody makes any more. False: nothing lay there.
static bool take_from_both(void) {
  bool one = get_one(&storm.self, mfi_object_of(&storm.self, queue), 0);
  bool other = get_one(&storm.self, mfi_object_of(&storm.self, narrow), 0);
  return one || other;
}

static void make_room(void) { take_from_both(); }

static void end_all(void) {
  store_seqcst(&shared->stop, 1u);
  storm_end(make_room);
  while (take_from_both())
    continue;
}

static bool was_got(unsigned p, uint64_t i) { return (shared->got[p][i / 8] >> i % 8 & 1) != 0; }

static void loses_and_doubles_nothing_in_a_storm_of_kills(void) {
  mfi_self *self = &storm.self;
  uint64_t missing = 0, got = 0, put = 0, tried = 0, deaths = storm_deaths(0, WORKERS);
  for (unsigned p = 0; p < PRODUCERS; p++) {
    put += shared->put[p];
    tried += shared->tried[p];
    for (uint64_t i = 1; i <= shared->tried[p]; i++) {
      got += was_got(p, i);
      missing += !was_got(p, i);
    }
  }
  // A try may have failed with its producer; a message may have died with its consumer.
  CHECK(missing <= deaths);
  CHECK(put <= got + storm_deaths(PRODUCERS, CONSUMERS));
  CHECK(got <= tried);
  CHECK_EQ(shared->twice, 0);
  CHECK_EQ(shared->torn, 0);
  CHECK_EQ(shared->stuck, 0);
  CHECK_EQ(mfi_queue_size(mfi_object_of(self, queue)), 0);
  CHECK_EQ(mfi_queue_size(mfi_object_of(self, narrow)), 0);
  CHECK_EQ(mfi_semaphore_value(mfi_object_of(self, permits)), 2);
  printf("  %lu deaths, %lu messages tried, %lu put, %lu got\n", deaths, tried, put, got);
}

static void leaves_nothing_behind_after_a_storm(void) {
  mfi_self *self = &storm.self;
  CHECK_EQ(mfi_objects_live(self), 5);
  CHECK_EQ(mfi_object_of(self, named)->refs, 1);
  // This worker's handle table, and the ring of each queue.
  CHECK_EQ(mfi_heap_live(self), 3);
  CHECK_EQ(self->slot->hand, 0);
}

int main(int argc, char **argv) {
  mfi_self *self = &storm.self;
  uint32_t place, permits_place;
  shared = storm_open((size_t)256 << 20, sizeof(log));
  queue = mfi_queue_make(self, 0, 0, &place);
  narrow = mfi_queue_make(self, 5, 0, &place);
  named = mfi_queue_make(self, 0, 0, &place);
  lock = mfi_object_make(self, MFI_KIND_LOCK, &place);
  permits = mfi_object_make(self, MFI_KIND_BOUNDED, &permits_place);
  mfi_semaphore_init(mfi_object_of(self, permits), 2, true);
  storm.start = start;
  storm.n = WORKERS;
  storm.rest_us = 3000;
  storm_blow(argc, argv);
  end_all();
  RUN(loses_and_doubles_nothing_in_a_storm_of_kills);
  mfi_heap_free(self, storm.block);
  RUN(leaves_nothing_behind_after_a_storm);
  mfi_region_close(self);
  return check_done();
}
