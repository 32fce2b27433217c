// The walk over heap, objects, queues, locks, semaphores and arrays; see walk.h.
#include "walk_queue.h"

#ifdef MFI_FAULTS

// ---- Sets

static void set_queue(stage *t) { set_object(t, MFI_KIND_QUEUE); }
static void set_lock(stage *t) { set_object(t, MFI_KIND_LOCK); }
static void set_rlock(stage *t) { set_object(t, MFI_KIND_RLOCK); }
static void set_semaphore(stage *t) {
  set_object(t, MFI_KIND_BOUNDED);
  mfi_semaphore_init(t->o, 3, true);
}

static void fill(stage *t, size_t size, uint64_t n) {
  for (uint64_t i = 1; i <= n; i++)
    CHECK_EQ(put_number(&t->self, t->o, i, size, 0), MFI_OK);
  t->before = n;
}
static void set_small_messages(stage *t) {
  set_queue(t);
  fill(t, 16, 3);
}
static void set_large_messages(stage *t) {
  set_queue(t);
  fill(t, 1000, 3);
}
static void set_full_ring(stage *t) { // one more of 200 bytes needs another ring
  set_queue(t);
  fill(t, 200, 2);
}
static void set_two_rings(stage *t) { // the first is sealed, one message is left in it
  mfi_status st;
  set_queue(t);
  put_number(&t->self, t->o, 1, 200, 0);
  fill(t, 200, 4);
  get_number(&t->self, t->o, 0, &st);
}
static void set_wrap(stage *t) { // the next record needs a pad in front
  mfi_status st;
  set_queue(t);
  for (int i = 0; i < 2; i++) {
    put_number(&t->self, t->o, 1, 160, 0);
    get_number(&t->self, t->o, 0, &st);
  }
}

static mfi_status put_with_refs(mfi_self *self, stage *t, uint64_t n) {
  mfi_handle refs[2] = {t->other, t->other};
  mfi_bytes b = {&n, sizeof n};
  mfi_source src = mfi_source_bytes(&b);
  src.refs = refs;
  src.nrefs = 2;
  return mfi_queue_put(self, t->o, &src, 0);
}
static void set_queue_and_other(stage *t) {
  set_used_queue(t);
  set_other(t, MFI_KIND_QUEUE);
}
static void set_messages_with_refs(stage *t) {
  set_queue(t);
  set_other(t, MFI_KIND_QUEUE);
  for (uint64_t n = 1; n <= 2; n++)
    CHECK_EQ(put_with_refs(&t->self, t, n), MFI_OK);
  t->before = 2;
}

static void set_sleeping_consumer(stage *t) {
  set_used_queue(t);
  set_sleeper(t, sleep_in_get);
}
static void sleep_in_put(mfi_self *self, void *arg) {
  stage *t = arg;
  mfi_status st = put_number(self, t->o, 2000, 16, soon(LONG_SECONDS));
  if (st != MFI_OK && st != MFI_CLOSED)
    _exit(2);
}
static void set_sleeping_producer(stage *t) {
  t->h = mfi_queue_make(&t->self, 1, 0, &t->place);
  t->o = mfi_object_of(&t->self, t->h);
  fill(t, 16, 1);
  set_sleeper(t, sleep_in_put);
}
static void sleep_in_acquire(mfi_self *self, void *arg) { // once the actor has it
  stage *t = arg;
  bool abandoned;
  uint32_t place;
  mfi_handle_add(self, t->h, &place);
  while (!mfi_lock_is_held(t->o))
    usleep(20);
  if (mfi_lock_acquire(self, t->o, soon(LONG_SECONDS), &abandoned) != MFI_OK ||
      mfi_lock_release(self, t->o) != MFI_OK)
    _exit(2);
}

// Holds the other lock and wants the one that the actor holds.
static void sleep_in_cycle(mfi_self *self, void *arg) {
  stage *t = arg;
  bool abandoned;
  uint32_t place;
  mfi_object *other = mfi_object_of(self, t->other);
  mfi_handle_add(self, t->h, &place);
  mfi_handle_add(self, t->other, &place);
  if (mfi_lock_acquire(self, other, 0, &abandoned) != MFI_OK)
    _exit(2);
  while (!mfi_lock_is_held(t->o))
    usleep(20);
  if (mfi_lock_acquire(self, t->o, MFI_NEVER, &abandoned) != MFI_OK ||
      mfi_lock_release(self, t->o) != MFI_OK || mfi_lock_release(self, other) != MFI_OK)
    _exit(2);
}

static void set_cycle(stage *t) {
  set_lock(t);
  set_other(t, MFI_KIND_LOCK);
  worker_fork(&t->self, &t->sleeper, sleep_in_cycle, t);
}

static void set_lock_and_sleeper(stage *t) {
  set_lock(t);
  worker_fork(&t->self, &t->sleeper, sleep_in_acquire, t);
}

static const mfi_shape small_shape = {.count = 6, .type = MFI_I16, .dims = 2, .size = {2, 3}};
static const mfi_shape large_shape = {.count = 30000, .type = MFI_F64, .dims = 1, .size = {30000}};

static void set_narrow_heap(stage *t) {
  mfi_heap *h = &t->self.region->heap;
  h->limit = (h->top + 3) * MFI_UNIT;
}

static void set_array(stage *t) {
  t->h = mfi_array_make(&t->self, &small_shape, true, &t->place);
  t->o = mfi_object_of(&t->self, t->h);
}

// ---- What actors do

static void alloc_small(mfi_self *self, stage *t) {
  MFI_UNUSED(t);
  mfi_heap_alloc(self, 100, MFI_BLOCK_BYTES);
}
static void alloc_large(mfi_self *self, stage *t) {
  MFI_UNUSED(t);
  mfi_heap_alloc(self, 200000, MFI_BLOCK_BYTES);
}
static void use_heap(mfi_self *self, stage *t) { // so that there is something free already
  MFI_UNUSED(t);
  mfi_ref a = mfi_heap_alloc(self, 100, MFI_BLOCK_BYTES);
  mfi_ref b = mfi_heap_alloc(self, 200000, MFI_BLOCK_BYTES);
  mfi_heap_free(self, a);
  mfi_heap_free(self, b);
}
static void have_small(mfi_self *self, stage *t) {
  t->block = mfi_heap_alloc(self, 100, MFI_BLOCK_BYTES);
  alloc_small(self, t); // not the top of the hand
}
static void have_large(mfi_self *self, stage *t) {
  t->block = mfi_heap_alloc(self, 200000, MFI_BLOCK_BYTES);
  alloc_small(self, t);
}
static void use_all_of_one_size(mfi_self *self, stage *t) {
  MFI_UNUSED(t);
  while (mfi_heap_alloc(self, 20000, MFI_BLOCK_BYTES) != 0)
    continue;
  while (self->slot->hand != 0)
    mfi_heap_free(self, self->slot->hand);
}
static void alloc_from_spans(mfi_self *self, stage *t) {
  t->block = mfi_heap_alloc(self, 130000, MFI_BLOCK_BYTES);
  CHECK(t->block != 0);
}
static void free_block(mfi_self *self, stage *t) { mfi_heap_free(self, t->block); }

static void make_object(mfi_self *self, stage *t) {
  uint32_t place;
  MFI_UNUSED(t);
  mfi_queue_make(self, 0, 0, &place);
}
static void make_used_object(mfi_self *self, stage *t) {
  uint32_t place;
  MFI_UNUSED(t);
  mfi_queue_make(self, 0, 0, &place);
  mfi_handle_drop(self, place);
}
static void add_many(mfi_self *self, stage *t) {
  uint32_t place;
  for (int i = 0; i < 12; i++)
    mfi_handle_add(self, t->h, &place);
}
static void make_full_queue(mfi_self *self, stage *t) { // only the actor holds it
  stage mine = *t;
  mine.h = mfi_queue_make(self, 0, 0, &t->mine);
  mine.o = mfi_object_of(self, mine.h);
  CHECK_EQ(put_number(self, mine.o, 1, 16, 0), MFI_OK);
  CHECK_EQ(put_number(self, mine.o, 2, 1000, 0), MFI_OK);
  CHECK_EQ(put_with_refs(self, &mine, 3), MFI_OK);
  // A queue in it that nobody else holds, so that its end ends another one.
  uint32_t inner;
  mine.other = mfi_queue_make(self, 0, 0, &inner);
  CHECK_EQ(put_number(self, mfi_object_of(self, mine.other), 4, 16, 0), MFI_OK);
  CHECK_EQ(put_with_refs(self, &mine, 5), MFI_OK);
  mfi_handle_drop(self, inner);
}

static void put_large(mfi_self *self, stage *t) { put_number(self, t->o, 1000, 1000, 0); }
static void put_200(mfi_self *self, stage *t) { put_number(self, t->o, 1000, 200, 0); }
static void put_refs(mfi_self *self, stage *t) { put_with_refs(self, t, 1000); }
static void put_packed(mfi_self *self, stage *t) {
  char packed[1024];
  size_t used = 0;
  uint32_t done;
  for (uint64_t n = 1000; n < 1020; n++) {
    memset(mfi_queue_pack(packed + used, 24), (int)(n % 251), 24);
    memcpy(packed + used + 8, &n, 8);
    used += mfi_queue_packed_size(24);
  }
  mfi_queue_put_packed(self, t->o, packed, 20, 0, &done, &used);
}
static void get(mfi_self *self, stage *t) {
  mfi_status st;
  get_number(self, t->o, 0, &st);
}
static void take(mfi_self *self, stage *t) {
  mfi_taken taken;
  mfi_queue_take(self, t->o, t->mine, 0, &taken);
}
static void hold_and_take(mfi_self *self, stage *t) {
  hold(self, t);
  take(self, t);
}
static void call_done(mfi_self *self, stage *t) { mfi_queue_task_done(self, t->o, t->mine); }
static void get_packed(mfi_self *self, stage *t) {
  char got[1024];
  size_t used;
  mfi_queue_get_packed(self, t->o, got, sizeof got, 2, &used);
}
static void get_asleep(mfi_self *self, stage *t) {
  mfi_status st;
  get_number(self, t->o, soon(LONG_SECONDS), &st);
}

static void acquire(mfi_self *self, stage *t) {
  bool abandoned;
  mfi_lock_acquire(self, t->o, 0, &abandoned);
}
static void release(mfi_self *self, stage *t) { mfi_lock_release(self, t->o); }
static void abandon(mfi_self *self, stage *t) {
  MFI_UNUSED(t);
  mfi_handles_abandon(self);
}
static void hold_and_own(mfi_self *self, stage *t) {
  hold(self, t);
  acquire(self, t);
}
static void own_before_a_sleeper(mfi_self *self, stage *t) {
  hold_and_own(self, t);
  worker_until_asleep(self, &t->sleeper);
}
static void own_in_a_cycle(mfi_self *self, stage *t) {
  uint32_t place;
  CHECK_EQ(mfi_handle_add(self, t->other, &place), MFI_OK);
  own_before_a_sleeper(self, t);
}
static void close_cycle(mfi_self *self, stage *t) {
  bool abandoned;
  mfi_object *other = mfi_object_of(self, t->other);
  CHECK_EQ(mfi_lock_acquire(self, other, MFI_NEVER, &abandoned), MFI_DEADLOCK);
  release(self, t);
}
static void take_permit(mfi_self *self, stage *t) { mfi_semaphore_acquire(self, t->o, t->mine, 0); }
static void hold_and_take_permits(mfi_self *self, stage *t) {
  hold(self, t);
  take_permit(self, t);
  take_permit(self, t);
}
static void give_permit(mfi_self *self, stage *t) { mfi_semaphore_release(self, t->o, t->mine, 1); }

static void make_small_array(mfi_self *self, stage *t) {
  CHECK(mfi_array_make(self, &small_shape, true, &t->mine) != 0);
}
static void make_large_array(mfi_self *self, stage *t) {
  CHECK(mfi_array_make(self, &large_shape, true, &t->mine) != 0);
}
static void view_array(mfi_self *self, stage *t) {
  mfi_shape part = {.count = 3, .type = MFI_I16, .dims = 1, .size = {3}};
  CHECK(mfi_array_view(self, t->o, 2, &part, &t->mine) != 0);
}
static void ask_for_lock(mfi_self *self, stage *t) { CHECK(mfi_numbers_lock(self, t->o) != 0); }
static void make_viewed_array(mfi_self *self, stage *t) { // of which only the view is left
  stage mine = *t;
  mine.h = mfi_array_make(self, &large_shape, true, &t->mine);
  mine.o = mfi_object_of(self, mine.h);
  view_array(self, &mine);
  ask_for_lock(self, &mine);
  mfi_handle_drop(self, t->mine);
  t->mine = mine.mine;
}

// ---- Checks

static void check_one_lock(stage *t, bool done) {
  mfi_handle h = mfi_numbers_lock(&t->self, t->o);
  MFI_UNUSED(done);
  CHECK(mfi_handle_kind(&t->self, h) == MFI_KIND_LOCK);
  CHECK_EQ(mfi_numbers_lock(&t->self, t->o), h);
}

// The queue holds `before` messages and then `more` of the act's, whole and in order.
static void drain(stage *t, uint64_t from, uint64_t more) {
  mfi_status st;
  CHECK_EQ(mfi_queue_size(t->o), t->before - from + more);
  for (uint64_t n = from + 1; n <= t->before; n++)
    CHECK_EQ(get_number(&t->self, t->o, 0, &st), n);
  for (uint64_t i = 0; i < more; i++)
    CHECK_EQ(get_number(&t->self, t->o, 0, &st), 1000 + i);
  CHECK_EQ(mfi_queue_size(t->o), 0);
  // And it goes on.
  for (uint64_t n = 1; n < 10; n++)
    CHECK_EQ(put_number(&t->self, t->o, n, n * 90, 0), MFI_OK);
  for (uint64_t n = 1; n < 10; n++)
    CHECK_EQ(get_number(&t->self, t->o, 0, &st), n);
}

static void check_put(stage *t, bool done) {
  uint64_t more = mfi_queue_size(t->o) - t->before;
  CHECK(more <= 1);
  CHECK(!done || more == 1);
  drain(t, 0, more);
}
static void check_put_packed(stage *t, bool done) {
  uint64_t more = mfi_queue_size(t->o) - t->before;
  CHECK(more <= 20);
  CHECK(!done || more == 20);
  drain(t, 0, more);
}
static void check_get(stage *t, bool done) {
  uint64_t taken = t->before - mfi_queue_size(t->o);
  CHECK(taken <= 1);
  CHECK(!done || taken == 1);
  drain(t, taken, 0);
}
static void check_get_packed(stage *t, bool done) {
  uint64_t taken = t->before - mfi_queue_size(t->o);
  CHECK(taken == 0 || taken == 2);
  CHECK(!done || taken == 2);
  drain(t, taken, 0);
}
static void check_two_rings(stage *t, bool done) {
  uint64_t taken = t->before - mfi_queue_size(t->o);
  CHECK(taken <= 1);
  CHECK(!done || taken == 1);
  drain(t, taken, 0);
}

// All that the dead one took is done, and no more.
static void check_done_count(stage *t, bool done) {
  mfi_status st;
  MFI_UNUSED(done);
  CHECK_EQ(mfi_queue_of(t->o)->done, t->before - mfi_queue_size(t->o));
  while (get_number(&t->self, t->o, 0, &st) != 0)
    CHECK_EQ(mfi_queue_task_done(&t->self, t->o, t->place), MFI_OK);
  CHECK_EQ(mfi_queue_join(&t->self, t->o, 0), MFI_OK);
}

// A sleeper must get what was put; when nothing was, what the watcher puts now.
static void check_sleeping_consumer(stage *t, bool done) {
  uint64_t puts = mfi_mark_count(0, mfi_queue_of(t->o)->tail);
  CHECK(puts == 1 || puts == 2);
  CHECK(!done || puts == 2);
  if (puts == 1)
    CHECK_EQ(put_number(&t->self, t->o, 1000, 16, 0), MFI_OK);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  CHECK_EQ(mfi_queue_size(t->o), 0);
}
static void check_sleeping_producer(stage *t, bool done) {
  mfi_status st;
  MFI_UNUSED(done);
  if (mfi_mark_count(0, mfi_queue_of(t->o)->head) == 0)
    CHECK_EQ(get_number(&t->self, t->o, 0, &st), 1);
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  CHECK_EQ(get_number(&t->self, t->o, 0, &st), 2000);
}

static void check_lock(stage *t, bool done) {
  bool abandoned;
  MFI_UNUSED(done);
  CHECK_EQ(mfi_lock_acquire(&t->self, t->o, 0, &abandoned), MFI_OK);
  CHECK_EQ(mfi_lock_release(&t->self, t->o), MFI_OK);
}
static void check_abandoned(stage *t, bool done) {
  bool abandoned;
  CHECK_EQ(mfi_lock_acquire(&t->self, t->o, 0, &abandoned), MFI_OK);
  CHECK(!done || abandoned);
  CHECK_EQ(mfi_lock_release(&t->self, t->o), MFI_OK);
}
static void check_released(stage *t, bool done) {
  bool abandoned;
  CHECK_EQ(mfi_lock_acquire(&t->self, t->o, 0, &abandoned), MFI_OK);
  CHECK(!done || !abandoned);
  CHECK_EQ(mfi_lock_release(&t->self, t->o), MFI_OK);
}
static void check_handed_on(stage *t, bool done) {
  CHECK_EQ(worker_join(&t->self, &t->sleeper), 0);
  check_lock(t, done);
}
static void check_permits(stage *t, bool done) {
  MFI_UNUSED(done);
  CHECK_EQ(mfi_semaphore_value(t->o), 3);
}

static void check_spans(stage *t, bool done) {
  MFI_UNUSED(done);
  for (int i = 0; i < 2; i++) {
    mfi_ref ref = mfi_heap_alloc(&t->self, i == 0 ? 130000 : 20000, MFI_BLOCK_BYTES);
    CHECK(ref != 0);
    if (ref != 0)
      mfi_heap_free(&t->self, ref);
  }
  t->self.region->heap.limit = (uint64_t)8 << 20; // what is looked at behind this needs more
}
static void check_cycle(stage *t, bool done) {
  bool abandoned;
  mfi_object *other = mfi_object_of(&t->self, t->other);
  check_handed_on(t, done);
  CHECK_EQ(mfi_lock_acquire(&t->self, other, 0, &abandoned), MFI_OK);
  CHECK(!abandoned);
  CHECK_EQ(mfi_lock_release(&t->self, other), MFI_OK);
}

// ---- The walk

static const scene scenes[] = {
    {"alloc_of_a_first_small_block", set_nothing, NULL, alloc_small, NULL, check_nothing},
    {"alloc_of_a_small_block", set_nothing, use_heap, alloc_small, NULL, check_nothing},
    {"alloc_of_a_first_large_block", set_nothing, NULL, alloc_large, NULL, check_nothing},
    {"alloc_of_a_large_block", set_nothing, use_heap, alloc_large, NULL, check_nothing},
    {"free_of_a_small_block", set_nothing, have_small, free_block, NULL, check_nothing},
    {"free_of_a_large_block", set_nothing, have_large, free_block, NULL, check_nothing},
    {"giving_spans_up", set_narrow_heap, use_all_of_one_size, alloc_from_spans, NULL, check_spans},
    {"making_a_first_object", set_nothing, NULL, make_object, NULL, check_nothing},
    {"making_an_object", set_nothing, make_used_object, make_object, NULL, check_nothing},
    {"adding_a_handle", set_queue, NULL, hold, NULL, check_nothing},
    {"dropping_a_handle", set_queue, hold, drop_mine, NULL, check_nothing},
    {"growing_a_handle_table", set_queue, hold, add_many, NULL, check_nothing},
    {"ending_a_full_queue", set_queue_and_other, make_full_queue, drop_mine, NULL, check_nothing},
    {"a_first_put", set_queue, hold, put_small, NULL, check_put},
    {"a_small_put", set_used_queue, hold, put_small, NULL, check_put},
    {"a_large_put", set_used_queue, hold, put_large, NULL, check_put},
    {"a_put_of_handles", set_queue_and_other, hold, put_refs, NULL, check_put},
    {"a_put_behind_others", set_large_messages, hold, put_small, NULL, check_put},
    {"a_put_behind_a_full_ring", set_full_ring, hold, put_200, NULL, check_put},
    {"a_put_at_the_ring's_end", set_wrap, hold, put_200, NULL, check_put},
    {"a_packed_put", set_used_queue, hold, put_packed, NULL, check_put_packed},
    {"a_small_get", set_small_messages, hold, get, NULL, check_get},
    {"a_large_get", set_large_messages, hold, get, NULL, check_get},
    {"a_get_of_handles", set_messages_with_refs, hold, get, NULL, check_get},
    {"a_get_from_the_next_ring", set_two_rings, hold, get, NULL, check_two_rings},
    {"a_packed_get", set_small_messages, hold, get_packed, NULL, check_get_packed},
    {"a_counted_get", set_small_messages, hold, take, NULL, check_done_count},
    {"calling_a_message_done", set_small_messages, hold_and_take, call_done, NULL,
     check_done_count},
    {"a_put_for_a_sleeper", set_sleeping_consumer, hold, put_small, NULL, check_sleeping_consumer},
    {"a_get_for_a_sleeper", set_sleeping_producer, hold, get, NULL, check_sleeping_producer},
    {"a_get_asleep_beside_another", set_sleeping_consumer, hold, get_asleep, put_when_asleep,
     check_two_consumers},
    {"closing_for_a_sleeping_consumer", set_sleeping_consumer, hold, close_queue, NULL,
     check_closed},
    {"closing_for_a_sleeping_producer", set_sleeping_producer, hold, close_queue, NULL,
     check_closed},
    {"an_acquire", set_lock, hold, acquire, NULL, check_abandoned},
    {"a_release", set_lock, hold_and_own, release, NULL, check_released},
    {"a_second_acquire", set_rlock, hold_and_own, acquire, NULL, check_abandoned},
    {"an_abandonment", set_lock, hold_and_own, abandon, NULL, check_abandoned},
    {"a_release_for_a_sleeper", set_lock_and_sleeper, own_before_a_sleeper, release, NULL,
     check_handed_on},
    {"an_abandonment_for_a_sleeper", set_lock_and_sleeper, own_before_a_sleeper, abandon, NULL,
     check_handed_on},
    {"closing_a_cycle", set_cycle, own_in_a_cycle, close_cycle, NULL, check_cycle},
    {"making_a_small_array", set_nothing, use_heap, make_small_array, NULL, check_nothing},
    {"making_a_large_array", set_nothing, use_heap, make_large_array, NULL, check_nothing},
    {"making_a_first_array", set_nothing, NULL, make_large_array, NULL, check_nothing},
    {"making_a_view", set_array, hold, view_array, NULL, check_nothing},
    {"asking_for_an_array's_lock", set_array, hold, ask_for_lock, NULL, check_one_lock},
    {"ending_a_viewed_array", set_nothing, make_viewed_array, drop_mine, NULL, check_nothing},
    {"taking_a_permit", set_semaphore, hold, take_permit, NULL, check_permits},
    {"giving_a_permit", set_semaphore, hold_and_take_permits, give_permit, NULL, check_permits},
};

int main(int argc, char **argv) {
  return walk_all(scenes, sizeof scenes / sizeof *scenes, argc, argv);
}

#else

int main(void) {
  printf("skip death_at_each_step\n");
  return 0;
}

#endif
