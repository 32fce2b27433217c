// A storm of random kills over events, conditions and barriers: who sets, waits, notifies, consumes
// and meets is killed at any instant and replaced, for some seconds (first argument). Meanwhile
// every piece of work that is told of finds a taker, and nobody waits in vain; afterwards all works
// as on the first day and nothing is left over.
#include "storm.h"

enum { SETTER, WATCHER, PRODUCER = 3, CONSUMER = 4, MEETER = 7, WORKERS = 10 };
#define CONSUMERS (MEETER - CONSUMER)
#define PARTIES (WORKERS - MEETER)

// Shared by all, in a block.
typedef struct log {
  uint32_t stop, calm; // calm: the producer rests
  uint64_t stuck, odd;
  uint64_t freed, consumed, passed, broken;
  uint64_t stock; // under the lock of `changed`
} log;

static log *shared;
static mfi_handle lock, event, changed, barrier;

static bool goes_on(void) { return load_relaxed(&shared->stop) == 0; }

// Counts what must not happen.
static void expect(bool fine, uint64_t *failures) {
  if (!fine)
    fetch_add_seqcst(failures, (uint64_t)1);
}

// ---- Events: set and cleared at once, again and again

static void set(mfi_self *self, mfi_object *e) {
  mfi_flag_set(self, e);
  mfi_flag_clear(e);
}

static void watch(mfi_self *self, mfi_object *e) {
  mfi_status st = mfi_flag_wait(self, e, mfi_flag_look(e), soon(LONG_SECONDS));
  expect(st == MFI_OK, &shared->stuck);
  fetch_add_seqcst(&shared->freed, (uint64_t)1);
}

// ---- Conditions: one piece of work at a time, and who brought it waits until it is taken

static void acquire(mfi_self *self, mfi_object *l) {
  bool abandoned;
  expect(mfi_lock_acquire(self, l, soon(LONG_SECONDS), &abandoned) == MFI_OK, &shared->stuck);
}

static void produce(mfi_self *self, mfi_object *c, mfi_object *l) {
  acquire(self, l);
  if (load_relaxed(&shared->stock) == 0) // else a dead one left it, and may have told nobody
    store_relaxed(&shared->stock, (uint64_t)1);
  mfi_condition_notify(self, c, 1);
  mfi_lock_release(self, l);
  mfi_ns give_up = soon(LONG_SECONDS);
  while (load_relaxed(&shared->stock) != 0 && mfi_os_now() < give_up)
    usleep(10);
  expect(load_relaxed(&shared->stock) == 0, &shared->stuck);
}

// False: it is time to end.
static bool wait_for_stock(mfi_self *self, mfi_object *c, mfi_object *l) {
  while (load_relaxed(&shared->stock) == 0) {
    uint32_t place;
    if (!goes_on())
      return false;
    expect(mfi_condition_enter(self, c, &place) == MFI_OK, &shared->odd);
    mfi_lock_release(self, l);
    mfi_status st = mfi_condition_await(self, place, soon(LONG_SECONDS));
    expect(st == MFI_OK || load_relaxed(&shared->calm) != 0, &shared->stuck);
    acquire(self, l);
    mfi_condition_leave(self, c, place, true);
  }
  return true;
}

static void consume(mfi_self *self, mfi_object *c, mfi_object *l) {
  acquire(self, l);
  if (wait_for_stock(self, c, l)) {
    fetch_add_seqcst(&shared->consumed, (uint64_t)1);
    store_relaxed(&shared->stock, load_relaxed(&shared->stock) - 1);
  }
  mfi_lock_release(self, l);
}

// ---- Barriers: the first of those who meet mends it

static void meet(mfi_self *self, mfi_object *b, bool mends) {
  mfi_visit v = {.began = false};
  mfi_status st = mfi_barrier_wait(self, b, &v, soon(LONG_SECONDS));
  if (st == MFI_RUNNING)
    st = mfi_barrier_acted(self, b, &v);
  expect(st != MFI_TIMEDOUT, &shared->stuck);
  expect(st != MFI_OK || (v.index >= 1 && v.index <= PARTIES), &shared->odd);
  fetch_add_seqcst(st == MFI_OK ? &shared->passed : &shared->broken, (uint64_t)1);
  if (st == MFI_OK)
    return;
  if (mends && goes_on())
    mfi_barrier_reset(self, b);
  usleep(50);
}

// ---- The storm

static unsigned roles[WORKERS];

static void work(mfi_self *self, void *arg) {
  unsigned role = *(unsigned *)arg;
  uint32_t place;
  mfi_object *l = hold(self, lock, &place), *e = hold(self, event, &place);
  mfi_object *c = hold(self, changed, &place), *b = hold(self, barrier, &place);
  while (goes_on()) {
    if (role == SETTER)
      set(self, e);
    else if (role < PRODUCER)
      watch(self, e);
    else if (role == PRODUCER && load_relaxed(&shared->calm) == 0)
      produce(self, c, l);
    else if (role == PRODUCER)
      usleep(1000);
    else if (role < MEETER)
      consume(self, c, l);
    else
      meet(self, b, role == MEETER);
  }
}

static void start(unsigned i) {
  roles[i] = i;
  worker_fork(&storm.self, &storm.workers[i], work, &roles[i]);
}

static uint64_t number_waiting(void) {
  return load_acquire(&mfi_condition_of(mfi_object_of(&storm.self, changed))->waiting);
}

static bool comes_true(bool (*is_true)(void)) {
  mfi_ns give_up = soon(LONG_SECONDS);
  while (!is_true() && mfi_os_now() < give_up)
    usleep(100);
  return is_true();
}
static bool all_wait(void) {
  return number_waiting() == CONSUMERS && load_relaxed(&shared->stock) == 0;
}
static bool stock_is_taken(void) { return load_relaxed(&shared->stock) == 0; }

static void hears_every_notify_after_a_storm(void) {
  mfi_object *c = mfi_object_of(&storm.self, changed), *l = mfi_object_of(&storm.self, lock);
  store_seqcst(&shared->calm, 1u);
  for (int i = 0; i < 50; i++) {
    CHECK(comes_true(all_wait));
    acquire(&storm.self, l);
    store_relaxed(&shared->stock, (uint64_t)1);
    mfi_condition_notify(&storm.self, c, 1);
    mfi_lock_release(&storm.self, l);
    CHECK(comes_true(stock_is_taken));
  }
}

static void meets_after_a_storm(void) {
  uint64_t before = load_seqcst(&shared->passed);
  mfi_ns give_up = soon(LONG_SECONDS);
  while (load_seqcst(&shared->passed) < before + 20 && mfi_os_now() < give_up)
    usleep(100);
  CHECK(load_seqcst(&shared->passed) >= before + 20);
}

static void free_all(void) {
  mfi_self *self = &storm.self;
  mfi_object *c = mfi_object_of(self, changed), *l = mfi_object_of(self, lock);
  set(self, mfi_object_of(self, event));
  mfi_barrier_abort(self, mfi_object_of(self, barrier));
  acquire(self, l);
  mfi_condition_notify(self, c, UINT64_MAX);
  mfi_lock_release(self, l);
}

static void end_all(void) {
  store_seqcst(&shared->stop, 1u);
  storm_end(free_all);
}

static void strands_nobody_in_a_storm_of_kills(void) {
  CHECK_EQ(shared->stuck, 0);
  CHECK_EQ(shared->odd, 0);
  CHECK(shared->freed > 0 && shared->consumed > 0 && shared->passed > 0 && shared->broken > 0);
  printf("  %lu deaths; %lu freed, %lu consumed, %lu passed, %lu broken\n",
         storm_deaths(0, WORKERS), shared->freed, shared->consumed, shared->passed, shared->broken);
}

static void leaves_nothing_behind_after_a_storm(void) {
  mfi_self *self = &storm.self;
  const mfi_condition *c = mfi_condition_of(mfi_object_of(self, changed));
  const mfi_barrier *b = mfi_barrier_of(mfi_object_of(self, barrier));
  CHECK_EQ(c->waiting | c->first | c->last, 0);
  CHECK_EQ(b->round | b->arrived | b->acting, 0);
  CHECK_EQ(mfi_objects_live(self), 4);
  CHECK_EQ(mfi_object_of(self, lock)->refs, 2); // the condition's, too
  CHECK_EQ(mfi_heap_live(self), 2);             // this worker's handle table, the action
  CHECK_EQ(self->slot->hand, 0);
  CHECK_EQ(self->slot->held, 0);
}

static void give_action(mfi_self *self, mfi_object *b) {
  mfi_bytes bytes = {"act", 3};
  mfi_source src = mfi_source_bytes(&bytes);
  mfi_ref message;
  CHECK_EQ(mfi_message_make(self, &src, &message), MFI_OK);
  mfi_barrier_give_action(self, b, message);
}

int main(int argc, char **argv) {
  mfi_self *self = &storm.self;
  uint32_t place;
  shared = storm_open((size_t)64 << 20, sizeof(log));
  lock = mfi_object_make(self, MFI_KIND_LOCK, &place);
  event = mfi_object_make(self, MFI_KIND_EVENT, &place);
  changed = mfi_object_make(self, MFI_KIND_CONDITION, &place);
  mfi_condition_init(self, mfi_object_of(self, changed), lock);
  barrier = mfi_object_make(self, MFI_KIND_BARRIER, &place);
  mfi_barrier_init(mfi_object_of(self, barrier), PARTIES, 0);
  give_action(self, mfi_object_of(self, barrier));
  storm.start = start;
  storm.n = WORKERS;
  storm.rest_us = 2000;
  storm_blow(argc, argv);
  RUN(hears_every_notify_after_a_storm);
  RUN(meets_after_a_storm);
  end_all();
  RUN(strands_nobody_in_a_storm_of_kills);
  mfi_heap_free(self, storm.block);
  RUN(leaves_nothing_behind_after_a_storm);
  mfi_region_close(self);
  return check_done();
}
