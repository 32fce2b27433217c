// Region, inner locks, heap, object table: what they promise when nobody dies.
#include "world.h"

#include <sched.h>

static mfi_self main_self;

static void gives_blocks_of_every_size_and_takes_them_back(void) {
  mfi_self *self = &main_self;
  uint64_t live = mfi_heap_live(self);
  mfi_ref ref[200];
  for (unsigned i = 0; i < 200; i++) {
    size_t size = (size_t)1 << (i % 20);
    ref[i] = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES);
    CHECK(ref[i] != 0);
    mfi_block *b = mfi_at(self, ref[i]);
    CHECK(b->size >= size);
    memset(mfi_payload(b), (int)i, b->size);
  }
  CHECK_EQ(mfi_heap_live(self), live + 200);
  for (unsigned i = 0; i < 200; i++) {
    mfi_block *b = mfi_at(self, ref[i]);
    const unsigned char *p = mfi_payload(b);
    CHECK(p[0] == i && p[b->size - 1] == i);
    mfi_heap_free(self, ref[i]);
  }
  CHECK_EQ(mfi_heap_live(self), live);
  CHECK_EQ(self->slot->hand, 0);
}

static void gives_the_block_freed_last_first(void) {
  mfi_self *self = &main_self;
  for (size_t size = 8; size <= 1 << 20; size *= 8) {
    mfi_ref a = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES);
    mfi_heap_free(self, a);
    mfi_ref b = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES);
    CHECK_EQ(b, a);
    mfi_heap_free(self, b);
  }
}

static void refuses_what_does_not_fit_and_goes_on(void) {
  mfi_self self;
  world_open(&self, 1 << 20);
  CHECK_EQ(mfi_heap_alloc(&self, (size_t)1 << 30, MFI_BLOCK_BYTES), 0);
  CHECK_EQ(mfi_heap_alloc(&self, SIZE_MAX, MFI_BLOCK_BYTES), 0);
  CHECK_EQ(mfi_heap_alloc(&self, SIZE_MAX - 64, MFI_BLOCK_BYTES), 0);
  unsigned n = 0;
  while (mfi_heap_alloc(&self, 100000, MFI_BLOCK_BYTES) != 0)
    n++;
  CHECK(n >= 7 && n <= 9);
  while (mfi_heap_alloc(&self, 10, MFI_BLOCK_BYTES) != 0)
    n++;
  CHECK_EQ(mfi_heap_live(&self), n);
  while (self.slot->hand != 0)
    mfi_heap_free(&self, self.slot->hand);
  CHECK_EQ(mfi_heap_live(&self), 0);
  CHECK(mfi_heap_alloc(&self, 500000, MFI_BLOCK_BYTES) != 0);
  mfi_region_close(&self);
}

// Blocks of this size until there is no memory, linked, the newest first; *n: how many.
static mfi_ref take_all(mfi_self *self, size_t size, uint64_t *n) {
  mfi_ref first = 0, ref;
  for (*n = 0; (ref = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES)) != 0; ++*n) {
    *(mfi_ref *)mfi_payload(mfi_at(self, ref)) = first;
    first = ref;
  }
  return first;
}

static void free_all(mfi_self *self, mfi_ref first) {
  for (mfi_ref next; first != 0; first = next) {
    next = *(mfi_ref *)mfi_payload(mfi_at(self, first));
    mfi_heap_free(self, first);
  }
}

static void has_room_for_any_size_when_all_is_free(void) {
  static const size_t sizes[] = {30, 100, 700, 5000, 20000, 60000, 1 << 20};
  uint64_t first[7] = {0}, n;
  mfi_self self;
  world_open(&self, (size_t)8 << 20);
  uint64_t before = mfi_heap_live(&self);
  for (int round = 0; round < 3; round++)
    for (int i = 0; i < 7; i++) {
      free_all(&self, take_all(&self, sizes[i], &n));
      CHECK(n * sizes[i] > (2 << 20));
      if (round == 0)
        first[i] = n;
      CHECK(n + n / 8 + 1 >= first[i]); // a class may keep a span
      CHECK_EQ(mfi_heap_live(&self), before);
    }
  mfi_region_close(&self);
}

static void never_gives_a_generation_twice(void) {
  mfi_self self;
  uint64_t n;
  world_open(&self, (size_t)4 << 20);
  mfi_ref ref = mfi_heap_alloc(&self, 1000, MFI_BLOCK_BYTES);
  mfi_block *b = mfi_at(&self, ref);
  uint32_t last = b->generation;
  for (int i = 0; i < 50; i++) { // later than what the runs have
    mfi_heap_free(&self, ref);
    ref = mfi_heap_alloc(&self, 1000, MFI_BLOCK_BYTES);
    CHECK(mfi_at(&self, ref) == b && b->generation > last);
    last = b->generation;
  }
  for (int i = 0; i < 5; i++) {
    mfi_heap_free(&self, ref);
    free_all(&self, take_all(&self, 100000, &n)); // its unit becomes part of a run
    free_all(&self, take_all(&self, 1000, &n));
    ref = mfi_heap_alloc(&self, 1000, MFI_BLOCK_BYTES);
    mfi_block *now = mfi_at(&self, ref);
    CHECK(now->generation > last);
    last = now->generation;
  }
  mfi_region_close(&self);
}

// The system gives no more: what is asked of the region's descriptor fails.
static void goes_on_without_memory_from_the_system(void) {
  mfi_self self;
  mfi_ref first, ref;
  uint64_t n;
  int pipe_fds[2];
  world_open(&self, (size_t)64 << 20);
  int saved = dup(self.fd);
  CHECK(saved >= 0 && pipe(pipe_fds) == 0);
  CHECK(dup2(pipe_fds[0], self.fd) == self.fd);
  CHECK_EQ(mfi_heap_alloc(&self, 2 << 20, MFI_BLOCK_BYTES), 0);
  uint64_t before = mfi_heap_live(&self);
  first = take_all(&self, 100000, &n);
  CHECK(n < 11); // of the extent that was there
  CHECK_EQ(mfi_heap_live(&self), before + n);
  CHECK(dup2(saved, self.fd) == self.fd);
  CHECK((ref = mfi_heap_alloc(&self, 2 << 20, MFI_BLOCK_BYTES)) != 0);
  mfi_heap_free(&self, ref);
  free_all(&self, first);
  CHECK_EQ(mfi_heap_live(&self), before);
  close(saved);
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  mfi_region_close(&self);
}

static void knows_a_block_from_any_other_number(void) {
  mfi_self *self = &main_self;
  mfi_ref small = mfi_heap_alloc(self, 10, MFI_BLOCK_BYTES);
  mfi_ref large = mfi_heap_alloc(self, 300000, MFI_BLOCK_BYTES);
  CHECK(mfi_heap_check(self, small) == mfi_at(self, small));
  CHECK(mfi_heap_check(self, large) == mfi_at(self, large));
  CHECK(mfi_heap_check(self, small + 8) == NULL);
  CHECK(mfi_heap_check(self, large + 64) == NULL);
  CHECK(mfi_heap_check(self, large + MFI_UNIT) == NULL);
  CHECK(mfi_heap_check(self, 0) == NULL);
  CHECK(mfi_heap_check(self, UINT64_MAX / 2) == NULL);
  mfi_heap_free(self, large);
  CHECK(mfi_heap_check(self, large) == NULL);
  mfi_heap_free(self, small);
}

static void never_gives_memory_twice(void) {
  mfi_self *self = &main_self;
  enum { N = 64 };
  mfi_ref ref[N] = {0};
  unsigned seed = 7;
  for (int i = 0; i < 20000; i++) {
    unsigned k = (seed = seed * 1103515245u + 12345u) >> 16 & (N - 1);
    if (ref[k] != 0) {
      uint64_t *p = mfi_payload(mfi_at(self, ref[k]));
      uint64_t words = ((mfi_block *)mfi_at(self, ref[k]))->size / 8;
      CHECK(p[0] == ref[k] && p[words - 1] == ref[k]);
      mfi_heap_free(self, ref[k]);
      ref[k] = 0;
      continue;
    }
    seed = seed * 1103515245u + 12345u;
    size_t size = (seed >> 16) % 3 == 0 ? 40000 + (seed >> 8) % 400000 : 8 + (seed >> 8) % 9000;
    ref[k] = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES);
    CHECK(ref[k] != 0);
    uint64_t *p = mfi_payload(mfi_at(self, ref[k]));
    uint64_t words = ((mfi_block *)mfi_at(self, ref[k]))->size / 8;
    p[0] = p[words - 1] = ref[k];
  }
  for (int k = 0; k < N; k++)
    if (ref[k] != 0)
      mfi_heap_free(self, ref[k]);
  CHECK_EQ(mfi_heap_live(self), 0);
}

static void counts_references_and_ends_with_the_last(void) {
  mfi_self *self = &main_self;
  uint64_t live = mfi_objects_live(self);
  uint32_t a, b;
  mfi_handle h = mfi_queue_make(self, 0, 0, &a);
  CHECK(h != 0 && mfi_object_of(self, h) != NULL);
  CHECK_EQ(mfi_handle_kind(self, h), MFI_KIND_QUEUE);
  CHECK_EQ(mfi_handle_add(self, h, &b), MFI_OK);
  CHECK_EQ(mfi_objects_live(self), live + 1);
  mfi_handle_drop(self, a);
  CHECK(mfi_object_of(self, h) != NULL);
  mfi_handle_drop(self, b);
  CHECK(mfi_object_of(self, h) == NULL);
  CHECK_EQ(mfi_handle_add(self, h, &b), MFI_CLOSED);
  CHECK_EQ(mfi_objects_live(self), live);
}

static void refuses_forged_handles(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_handle h = mfi_queue_make(self, 0, 0, &place);
  const mfi_handle forged[] = {0,
                               1,
                               h + 1,
                               h + ((uint64_t)1 << 32),
                               h | (uint64_t)1 << 63,
                               (uint64_t)1 << 63,
                               UINT64_MAX,
                               UINT64_MAX >> 1};
  for (unsigned i = 0; i < sizeof forged / sizeof *forged; i++) {
    CHECK(mfi_object_of(self, forged[i]) == NULL);
    CHECK_EQ(mfi_handle_kind(self, forged[i]), MFI_KIND_FREE);
    uint32_t other;
    CHECK_EQ(mfi_handle_add(self, forged[i], &other), MFI_CLOSED);
  }
  mfi_handle_drop(self, place);
}

static void holds_thousands_of_handles(void) {
  mfi_self *self = &main_self;
  enum { N = 3000 };
  static uint32_t place[N];
  uint32_t first;
  mfi_handle h = mfi_queue_make(self, 0, 0, &first);
  for (int i = 0; i < N; i++)
    CHECK_EQ(mfi_handle_add(self, h, &place[i]), MFI_OK);
  CHECK_EQ(mfi_object_of(self, h)->refs, N + 1);
  for (int i = 0; i < N; i++)
    mfi_handle_drop(self, place[i]);
  CHECK_EQ(mfi_object_of(self, h)->refs, 1);
  mfi_handle_drop(self, first);
  CHECK(mfi_object_of(self, h) == NULL);
}

static void *drop_place(void *place) {
  mfi_handle_drop(&main_self, *(uint32_t *)place);
  return NULL;
}

static void drop_with_a_small_stack(uint32_t place) {
  pthread_attr_t a;
  pthread_t t;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 256 << 10);
  pthread_create(&t, &a, drop_place, &place);
  pthread_join(t, NULL);
  pthread_attr_destroy(&a);
}

static void ends_a_deep_chain_of_objects(void) {
  mfi_self *self = &main_self;
  uint64_t live = mfi_objects_live(self);
  uint32_t inner, outer;
  mfi_handle h = mfi_queue_make(self, 0, 0, &inner);
  for (int i = 0; i < 3000; i++) {
    mfi_handle next = mfi_queue_make(self, 0, 0, &outer);
    mfi_bytes none = {"", 0};
    mfi_source src = mfi_source_bytes(&none);
    src.refs = &h;
    src.nrefs = 1;
    CHECK_EQ(mfi_queue_put(self, mfi_object_of(self, next), &src, 0), MFI_OK);
    mfi_handle_drop(self, inner);
    h = next;
    inner = outer;
  }
  CHECK_EQ(mfi_objects_live(self), live + 3001);
  drop_with_a_small_stack(inner);
  CHECK_EQ(mfi_objects_live(self), live);
}

static void names_a_worker_for_ever(void) {
  mfi_self *self = &main_self;
  uint32_t a = mfi_slot_take(self);
  uint64_t id = mfi_slot_id(self, a);
  CHECK(mfi_slot_is(self, id));
  mfi_slot_release(self, a);
  CHECK(!mfi_slot_is(self, id));
  uint32_t b = mfi_slot_take(self);
  CHECK_EQ(b, a);
  CHECK(!mfi_slot_is(self, id) && mfi_slot_is(self, mfi_slot_id(self, b)));
  mfi_slot_release(self, b);
}

static void runs_out_of_slots_with_no_effect(void) {
  mfi_self self;
  world_open(&self, 1 << 20);
  uint32_t n = 0, last = 0;
  for (uint32_t s; n < MFI_MAX_SLOTS && (s = mfi_slot_take(&self)) != 0; n++)
    last = s;
  CHECK_EQ(n, MFI_MAX_SLOTS - 2);
  mfi_slot_release(&self, last);
  CHECK_EQ(mfi_slot_take(&self), last);
  CHECK_EQ(mfi_slot_take(&self), 0);
  mfi_region_close(&self);
}

static void runs_out_of_objects_with_no_effect(void) {
  mfi_self self;
  world_open(&self, 1 << 20);
  uint32_t place, last = 0;
  uint64_t n = 0;
  while (mfi_queue_make(&self, 0, 0, &place) != 0) {
    last = place;
    n++;
  }
  CHECK(n > 1000);
  CHECK_EQ(mfi_objects_live(&self), n);
  mfi_handle_drop(&self, last);
  CHECK(mfi_queue_make(&self, 0, 0, &place) != 0);
  CHECK_EQ(place, last);
  mfi_region_close(&self);
}

static void alloc_and_free(mfi_self *self, void *arg) {
  MFI_UNUSED(arg);
  for (int i = 0; i < 20000; i++) {
    mfi_ref a = mfi_heap_alloc(self, (size_t)(i * 37 % 3000), MFI_BLOCK_BYTES);
    mfi_ref b = mfi_heap_alloc(self, (size_t)(i % 50) * 2000, MFI_BLOCK_BYTES);
    *(uint64_t *)mfi_payload(mfi_at(self, a)) = a;
    *(uint64_t *)mfi_payload(mfi_at(self, b)) = b;
    CHECK(*(uint64_t *)mfi_payload(mfi_at(self, a)) == a);
    mfi_heap_free(self, a);
    CHECK(*(uint64_t *)mfi_payload(mfi_at(self, b)) == b);
    mfi_heap_free(self, b);
  }
}

static void serves_threads_and_processes_at_once(void) {
  mfi_self *self = &main_self;
  worker w[4];
  for (int i = 0; i < 2; i++) {
    worker_start(self, &w[i], true, alloc_and_free, NULL);
    worker_start(self, &w[i + 2], false, alloc_and_free, NULL);
  }
  for (int i = 0; i < 4; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  CHECK_EQ(mfi_heap_live(self), self->slot->handles != 0);
}

// Takes many blocks of one size, sees that they stay as they are, frees them; then of another size.
static void crowd(mfi_self *self, void *arg) {
  static const size_t sizes[] = {100, 3000, 20000, 150000};
  mfi_ref ref[200];
  MFI_UNUSED(arg);
  for (uint64_t round = 0; round < 300; round++) {
    size_t size = sizes[(round + self->index) % 4];
    int n = 0;
    while (n < 200 && (ref[n] = mfi_heap_alloc(self, size, MFI_BLOCK_BYTES)) != 0) {
      uint64_t *p = mfi_payload(mfi_at(self, ref[n]));
      p[0] = p[size / 8 - 1] = ref[n] ^ round;
      n++;
    }
    while (n-- > 0) {
      const uint64_t *p = mfi_payload(mfi_at(self, ref[n]));
      CHECK(p[0] == (ref[n] ^ round) && p[size / 8 - 1] == (ref[n] ^ round));
      mfi_heap_free(self, ref[n]);
    }
  }
}

static void serves_many_who_want_more_than_there_is(void) {
  mfi_self self;
  worker w[4];
  uint64_t n;
  world_open(&self, (size_t)4 << 20);
  for (int i = 0; i < 4; i++)
    worker_start(&self, &w[i], i % 2 == 0, crowd, NULL);
  for (int i = 0; i < 4; i++)
    CHECK_EQ(worker_join(&self, &w[i]), 0);
  CHECK_EQ(mfi_heap_live(&self), self.slot->handles != 0);
  free_all(&self, take_all(&self, 100000, &n));
  CHECK(n > 15);
  mfi_region_close(&self);
}

#ifndef MFI_TSAN // where a lock is waited for in glibc's own way
static void take_and_give(mfi_self *self, void *arg) {
  mfi_lock_take(self, arg);
  mfi_lock_give(self, arg);
}

// On this processor, and only when nothing else wants it.
static void take_and_give_last(mfi_self *self, void *arg) {
  struct sched_param none = {0};
  sched_setscheduler(0, SCHED_IDLE, &none);
  take_and_give(self, arg);
}

static void wait_until_asleep(pid_t pid) {
  char path[64], state = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  while (state != 'S') {
    FILE *f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
      state = 0;
    if (f != NULL)
      fclose(f);
    usleep(200);
  }
}

static bool ends_soon(pid_t pid) {
  mfi_ns until = soon(LONG_SECONDS);
  while (mfi_os_now() < until) {
    if (waitpid(pid, NULL, WNOHANG) == pid)
      return true;
    usleep(200);
  }
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  return false;
}

static void stay_on_this_processor(cpu_set_t *before) {
  cpu_set_t here;
  sched_getaffinity(0, sizeof *before, before);
  CPU_ZERO(&here);
  CPU_SET((size_t)sched_getcpu(), &here);
  sched_setaffinity(0, sizeof here, &here);
}

// Two wait for a lock, and it is given; who is woken is killed before it has tried, and the lock
// was taken meanwhile by one who need not wait: nobody wakes the other.
static void strands_nobody_behind_a_waiter_that_was_killed(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker first, second;
  cpu_set_t before;
  mfi_handle h = mfi_object_make(self, MFI_KIND_LOCK, &place);
  mfi_lock *lock = &mfi_object_of(self, h)->lock;
  stay_on_this_processor(&before);
  mfi_lock_take(self, lock);
  worker_fork(self, &first, take_and_give_last, lock);
  wait_until_asleep(first.pid);
  worker_fork(self, &second, take_and_give, lock);
  wait_until_asleep(second.pid);
  mfi_lock_give(self, lock);
  mfi_lock_take(self, lock);
  kill(first.pid, SIGKILL);
  waitpid(first.pid, NULL, 0);
  mfi_lock_give(self, lock);
  CHECK(ends_soon(second.pid));
  mfi_slot_bury(self, first.slot);
  mfi_slot_bury(self, second.slot);
  mfi_handle_drop(self, place);
  sched_setaffinity(0, sizeof before, &before);
}
#endif

int main(void) {
  world_open(&main_self, (size_t)64 << 20);
  RUN(gives_blocks_of_every_size_and_takes_them_back);
  RUN(gives_the_block_freed_last_first);
  RUN(refuses_what_does_not_fit_and_goes_on);
  RUN(goes_on_without_memory_from_the_system);
  RUN(has_room_for_any_size_when_all_is_free);
  RUN(never_gives_a_generation_twice);
  RUN(knows_a_block_from_any_other_number);
  RUN(never_gives_memory_twice);
  RUN(counts_references_and_ends_with_the_last);
  RUN(refuses_forged_handles);
  RUN(holds_thousands_of_handles);
  RUN(ends_a_deep_chain_of_objects);
  RUN(names_a_worker_for_ever);
  RUN(runs_out_of_slots_with_no_effect);
  RUN(runs_out_of_objects_with_no_effect);
  RUN(serves_threads_and_processes_at_once);
  RUN(serves_many_who_want_more_than_there_is);
#ifndef MFI_TSAN
  RUN(strands_nobody_behind_a_waiter_that_was_killed);
#endif
  mfi_region_close(&main_self);
  return check_done();
}
