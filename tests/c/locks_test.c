// Script locks and semaphores: owners, depth, abandonment, waiting.
#include "os/process.h"
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

// ---- Deadlocks

#define MOST 50

// Workers in a ring: worker i holds lock i and wants lock i + 1.
typedef struct ring {
  uint64_t n;
  mfi_handle lock[MOST];
  uint32_t holding, closed, told; // shared
} ring;

typedef struct member {
  ring *ring;
  uint64_t i;
} member;

static void hold_and_want(mfi_self *self, void *arg) {
  const member *m = arg;
  ring *r = m->ring;
  uint32_t place[2];
  mfi_object *own, *wanted;
  bool abandoned;
  mfi_cycle cycle;
  mfi_handle next = r->lock[(m->i + 1) % r->n];
  CHECK_EQ(mfi_handle_add(self, r->lock[m->i], &place[0]), MFI_OK);
  CHECK_EQ(mfi_handle_add(self, next, &place[1]), MFI_OK);
  own = mfi_object_of(self, r->lock[m->i]);
  wanted = mfi_object_of(self, next);
  CHECK_EQ(mfi_lock_acquire(self, own, 0, &abandoned), MFI_OK);
  fetch_add_seqcst(&r->holding, 1u);
  while (load_seqcst(&r->holding) < r->n)
    mfi_os_yield();
  mfi_status st = mfi_lock_acquire_telling(self, wanted, MFI_NEVER, &abandoned, &cycle);
  if (st == MFI_DEADLOCK) {
    fetch_add_seqcst(&r->closed, 1u);
    store_release(&r->told, cycle.workers);
    CHECK_EQ(cycle.edge[0].worker, mfi_own_id(self));
    CHECK_EQ(cycle.edge[0].wants, next);
  } else {
    CHECK_EQ(st, MFI_OK);
    CHECK_EQ(mfi_lock_release(self, wanted), MFI_OK);
  }
  CHECK_EQ(mfi_lock_release(self, own), MFI_OK);
  mfi_handle_drop(self, place[1]);
  mfi_handle_drop(self, place[0]);
}

static void close_ring(uint64_t n) {
  mfi_self *self = &main_self;
  uint32_t place[MOST];
  worker w[MOST];
  member m[MOST];
  mfi_ref block = mfi_heap_alloc(self, sizeof(ring), MFI_BLOCK_BYTES);
  ring *r = mfi_payload(mfi_there(self, block));
  memset(r, 0, sizeof *r);
  r->n = n;
  for (uint64_t i = 0; i < n; i++)
    r->lock[i] = mfi_object_make(self, i % 2 == 0 ? MFI_KIND_LOCK : MFI_KIND_RLOCK, &place[i]);
  for (uint64_t i = 0; i < n; i++) {
    m[i] = (member){r, i};
    worker_start(self, &w[i], i % 3 == 0, hold_and_want, &m[i]);
  }
  for (uint64_t i = 0; i < n; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  CHECK_EQ(r->closed, 1);
  CHECK_EQ(r->told, n);
  for (uint64_t i = 0; i < n; i++) {
    CHECK(!mfi_lock_is_held(mfi_object_of(self, r->lock[i])));
    mfi_handle_drop(self, place[i]);
  }
  mfi_heap_free(self, block);
  CHECK_EQ(mfi_objects_live(self), 0);
}

static void finds_each_cycle_once(void) {
  for (int i = 0; i < 100; i++)
    close_ring(2 + (uint64_t)i % 4);
}

static void finds_long_cycles(void) {
  close_ring(10);
  close_ring(25);
  close_ring(MOST);
}

// Acquires some of four locks in order, again and again.
static void acquire_in_order(mfi_self *self, void *arg) {
  const ring *r = arg;
  uint64_t draw = self->index;
  uint32_t place[4];
  bool abandoned;
  for (int k = 0; k < 4; k++)
    CHECK_EQ(mfi_handle_add(self, r->lock[k], &place[k]), MFI_OK);
  for (int i = 0; i < 3000; i++) {
    draw = draw * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint64_t which = draw >> 60;
    for (int k = 0; k < 4; k++)
      if ((which >> k & 1) != 0)
        CHECK_EQ(mfi_lock_acquire(self, mfi_object_of(self, r->lock[k]), MFI_NEVER, &abandoned),
                 MFI_OK);
    for (int k = 0; k < 4; k++)
      if ((which >> k & 1) != 0)
        CHECK_EQ(mfi_lock_release(self, mfi_object_of(self, r->lock[k])), MFI_OK);
  }
  CHECK_EQ(self->slot->wants, 0);
  for (int k = 0; k < 4; k++)
    mfi_handle_drop(self, place[k]);
}

static void is_not_alarmed_by_order(void) {
  mfi_self *self = &main_self;
  ring r = {.n = 4};
  uint32_t place[4];
  worker w[4];
  for (int i = 0; i < 4; i++)
    r.lock[i] = mfi_object_make(self, MFI_KIND_LOCK, &place[i]);
  for (int i = 0; i < 4; i++)
    worker_start(self, &w[i], i % 2 == 0, acquire_in_order, &r);
  for (int i = 0; i < 4; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  for (int i = 0; i < 4; i++)
    mfi_handle_drop(self, place[i]);
}

// Holds lock 0 and waits for lock 1, which its killer holds.
static void hold_and_wait(mfi_self *self, void *arg) {
  const ring *r = arg;
  uint32_t place;
  bool abandoned;
  for (int i = 0; i < 2; i++)
    CHECK_EQ(mfi_handle_add(self, r->lock[i], &place), MFI_OK);
  CHECK_EQ(mfi_lock_acquire(self, mfi_object_of(self, r->lock[0]), 0, &abandoned), MFI_OK);
  mfi_lock_acquire(self, mfi_object_of(self, r->lock[1]), MFI_NEVER, &abandoned);
}

static void bury_later(mfi_self *self, void *arg) {
  worker *dead = arg;
  mfi_os_sleep_until(mfi_os_now() + 5000000);
  CHECK_EQ(worker_join(self, dead), 128 + SIGKILL);
}

static void waits_for_the_burial_of_a_dead_member(void) {
  mfi_self *self = &main_self;
  ring r = {.n = 2};
  uint32_t place[2];
  worker dead, burier;
  bool abandoned;
  for (int i = 0; i < 2; i++)
    r.lock[i] = mfi_object_make(self, MFI_KIND_LOCK, &place[i]);
  for (int i = 0; i < 10; i++) {
    CHECK_EQ(mfi_lock_acquire(self, mfi_object_of(self, r.lock[1]), 0, &abandoned), MFI_OK);
    worker_fork(self, &dead, hold_and_wait, &r);
    while (load_seqcst(&mfi_slot_at(self, dead.slot)->wants) == 0)
      usleep(50);
    kill(dead.pid, SIGKILL);
    if (i % 2 == 0) // else it may not even have ended
      while (!mfi_os_is_gone(dead.pid))
        usleep(50);
    worker_thread(self, &burier, bury_later, &dead);
    CHECK_EQ(mfi_lock_acquire(self, mfi_object_of(self, r.lock[0]), MFI_NEVER, &abandoned), MFI_OK);
    CHECK(abandoned);
    CHECK_EQ(worker_join(self, &burier), 0);
    for (int k = 0; k < 2; k++)
      CHECK_EQ(mfi_lock_release(self, mfi_object_of(self, r.lock[k])), MFI_OK);
  }
  for (int i = 0; i < 2; i++)
    mfi_handle_drop(self, place[i]);
  CHECK_EQ(mfi_objects_live(self), 0);
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
  RUN(finds_each_cycle_once);
  RUN(finds_long_cycles);
  RUN(is_not_alarmed_by_order);
  RUN(waits_for_the_burial_of_a_dead_member);
  mfi_region_close(&main_self);
  return check_done();
}
