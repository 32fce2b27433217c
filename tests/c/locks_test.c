// Script locks and semaphores: owners, depth, abandonment, waiting.
#include "world.h"

static mfi_self main_self;

static mfi_object *make(mfi_object_kind kind, uint32_t *place) {
  mfi_handle h = mfi_object_make(&main_self, kind, place);
  CHECK(h != 0);
  return mfi_object_of(&main_self, h);
}

static void leaves_nothing(uint32_t place) {
  mfi_handle_drop(&main_self, place);
  CHECK_EQ(mfi_objects_live(&main_self), 0);
  CHECK_EQ(main_self.slot->held, 0);
}

static void is_held_by_one(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  bool abandoned = true;
  mfi_object *o = make(MFI_KIND_LOCK, &place);
  CHECK_EQ(mfi_lock_release(self, o), MFI_INVALID);
  CHECK_EQ(mfi_lock_acquire(self, o, 0, &abandoned), MFI_OK);
  CHECK(!abandoned && mfi_lock_is_held(o));
  CHECK_EQ(mfi_lock_acquire(self, o, 0, &abandoned), MFI_DEADLOCK);
  CHECK_EQ(mfi_lock_release(self, o), MFI_OK);
  CHECK(!mfi_lock_is_held(o));
  leaves_nothing(place);
}

static void counts_its_depth(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  bool abandoned;
  mfi_object *o = make(MFI_KIND_RLOCK, &place);
  for (int i = 0; i < 5; i++)
    CHECK_EQ(mfi_lock_acquire(self, o, 0, &abandoned), MFI_OK);
  for (int i = 0; i < 5; i++) {
    CHECK(mfi_lock_is_held(o));
    CHECK_EQ(mfi_lock_release(self, o), MFI_OK);
  }
  CHECK(!mfi_lock_is_held(o));
  CHECK_EQ(mfi_lock_release(self, o), MFI_INVALID);
  leaves_nothing(place);
}

typedef struct counter {
  mfi_object *lock;
  uint64_t *n; // shared
  uint32_t kind;
} counter;

static void count(mfi_self *self, void *arg) {
  const counter *c = arg;
  bool abandoned;
  uint32_t place;
  mfi_handle h = main_self.slot == self->slot ? 0 : c->n[1];
  CHECK_EQ(mfi_handle_add(self, h, &place), MFI_OK);
  for (int i = 0; i < 5000; i++) {
    if (c->kind == MFI_KIND_LOCK)
      CHECK_EQ(mfi_lock_acquire(self, c->lock, soon(LONG_SECONDS), &abandoned), MFI_OK);
    else
      CHECK_EQ(mfi_semaphore_acquire(self, c->lock, place, soon(LONG_SECONDS)), MFI_OK);
    uint64_t n = load_relaxed(c->n);
    if (i % 64 == 0)
      mfi_os_yield();
    store_relaxed(c->n, n + 1);
    if (c->kind == MFI_KIND_LOCK)
      CHECK_EQ(mfi_lock_release(self, c->lock), MFI_OK);
    else
      CHECK_EQ(mfi_semaphore_release(self, c->lock, place, 1), MFI_OK);
  }
  mfi_handle_drop(self, place);
}

static void count_together(mfi_object_kind kind) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w[4];
  mfi_handle h = mfi_object_make(self, kind, &place);
  mfi_object *o = mfi_object_of(self, h);
  if (kind == MFI_KIND_BOUNDED)
    mfi_semaphore_init(o, 1, true);
  mfi_ref block = mfi_heap_alloc(self, 64, MFI_BLOCK_BYTES);
  uint64_t *n = mfi_payload(mfi_at(self, block));
  n[0] = 0;
  n[1] = h;
  counter c = {o, n, kind};
  for (int i = 0; i < 4; i++)
    worker_start(self, &w[i], i % 2 == 0, count, &c);
  for (int i = 0; i < 4; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  CHECK_EQ(*n, 20000);
  mfi_heap_free(self, block);
  leaves_nothing(place);
}

static void excludes_all_others(void) { count_together(MFI_KIND_LOCK); }
static void excludes_as_a_semaphore_of_one(void) { count_together(MFI_KIND_BOUNDED); }

static void acquire_and_die(mfi_self *self, void *arg) {
  bool abandoned;
  uint32_t place;
  CHECK_EQ(mfi_handle_add(self, *(mfi_handle *)arg, &place), MFI_OK);
  mfi_object *o = mfi_object_of(self, *(mfi_handle *)arg);
  CHECK_EQ(mfi_lock_acquire(self, o, soon(LONG_SECONDS), &abandoned), MFI_OK);
  kill(getpid(), SIGKILL);
}

static void tells_the_next_owner_of_a_death(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  bool abandoned;
  worker w;
  mfi_handle h = mfi_object_make(self, MFI_KIND_RLOCK, &place);
  mfi_object *o = mfi_object_of(self, h);
  for (int i = 0; i < 20; i++) {
    worker_fork(self, &w, acquire_and_die, &h);
    CHECK_EQ(worker_join(self, &w), 128 + SIGKILL);
    CHECK_EQ(mfi_lock_acquire(self, o, 0, &abandoned), MFI_OK);
    CHECK(abandoned);
    CHECK_EQ(mfi_lock_release(self, o), MFI_OK);
    CHECK_EQ(mfi_lock_acquire(self, o, 0, &abandoned), MFI_OK);
    CHECK(!abandoned);
    CHECK_EQ(mfi_lock_release(self, o), MFI_OK);
  }
  leaves_nothing(place);
}

static void acquire_abandoned(mfi_self *self, void *arg) {
  bool abandoned = false;
  uint32_t place;
  CHECK_EQ(mfi_handle_add(self, *(mfi_handle *)arg, &place), MFI_OK);
  mfi_object *o = mfi_object_of(self, *(mfi_handle *)arg);
  CHECK_EQ(mfi_lock_acquire(self, o, soon(LONG_SECONDS), &abandoned), MFI_OK);
  CHECK(abandoned);
  CHECK_EQ(mfi_lock_release(self, o), MFI_OK);
}

static void hands_an_abandoned_lock_to_a_sleeper(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  bool abandoned;
  worker w;
  mfi_handle h = mfi_object_make(self, MFI_KIND_LOCK, &place);
  mfi_object *o = mfi_object_of(self, h);
  CHECK_EQ(mfi_lock_acquire(self, o, 0, &abandoned), MFI_OK);
  worker_fork(self, &w, acquire_abandoned, &h);
  worker_until_asleep(self, &w);
  mfi_handles_abandon(self);
  CHECK_EQ(worker_join(self, &w), 0);
  CHECK_EQ(mfi_lock_release(self, o), MFI_INVALID);
  leaves_nothing(place);
}

static void gives_no_more_permits_than_it_has(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(MFI_KIND_BOUNDED, &place);
  mfi_semaphore_init(o, 2, true);
  CHECK_EQ(mfi_semaphore_acquire(self, o, place, 0), MFI_OK);
  CHECK_EQ(mfi_semaphore_acquire(self, o, place, 0), MFI_OK);
  CHECK_EQ(mfi_semaphore_acquire(self, o, place, 0), MFI_TIMEDOUT);
  CHECK_EQ(mfi_semaphore_acquire(self, o, place, soon(0.002)), MFI_TIMEDOUT);
  CHECK_EQ(mfi_semaphore_release(self, o, place, 3), MFI_INVALID);
  CHECK_EQ(mfi_semaphore_value(o), 0);
  CHECK_EQ(mfi_semaphore_release(self, o, place, 2), MFI_OK);
  CHECK_EQ(mfi_semaphore_release(self, o, place, 1), MFI_INVALID);
  CHECK_EQ(mfi_semaphore_value(o), 2);
  leaves_nothing(place);
}

static void take_permits_and_die(mfi_self *self, void *arg) {
  uint32_t place;
  CHECK_EQ(mfi_handle_add(self, *(mfi_handle *)arg, &place), MFI_OK);
  mfi_object *o = mfi_object_of(self, *(mfi_handle *)arg);
  for (int i = 0; i < 3; i++)
    CHECK_EQ(mfi_semaphore_acquire(self, o, place, soon(LONG_SECONDS)), MFI_OK);
  CHECK_EQ(mfi_semaphore_release(self, o, place, 1), MFI_OK);
  kill(getpid(), SIGKILL);
}

static void gets_back_the_permits_of_the_dead(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  worker w;
  mfi_handle h = mfi_object_make(self, MFI_KIND_BOUNDED, &place);
  mfi_semaphore_init(mfi_object_of(self, h), 3, true);
  for (int i = 0; i < 20; i++) {
    worker_fork(self, &w, take_permits_and_die, &h);
    CHECK_EQ(worker_join(self, &w), 128 + SIGKILL);
    CHECK_EQ(mfi_semaphore_value(mfi_object_of(self, h)), 3);
  }
  leaves_nothing(place);
}

static void counts_up_without_a_bound(void) {
  mfi_self *self = &main_self;
  uint32_t place;
  mfi_object *o = make(MFI_KIND_SEMAPHORE, &place);
  mfi_semaphore_init(o, 0, false);
  CHECK_EQ(mfi_semaphore_release(self, o, place, 1000), MFI_OK);
  for (int i = 0; i < 1000; i++)
    CHECK_EQ(mfi_semaphore_acquire(self, o, place, 0), MFI_OK);
  CHECK_EQ(mfi_semaphore_acquire(self, o, place, 0), MFI_TIMEDOUT);
  leaves_nothing(place);
}

int main(void) {
  world_open(&main_self, (size_t)16 << 20);
  RUN(is_held_by_one);
  RUN(counts_its_depth);
  RUN(excludes_all_others);
  RUN(excludes_as_a_semaphore_of_one);
  RUN(tells_the_next_owner_of_a_death);
  RUN(hands_an_abandoned_lock_to_a_sleeper);
  RUN(gives_no_more_permits_than_it_has);
  RUN(gets_back_the_permits_of_the_dead);
  RUN(counts_up_without_a_bound);
  mfi_region_close(&main_self);
  return check_done();
}
