// Events: no wake is lost, a wake is a baton, notes are heard.
#include "world.h"

#include <sys/mman.h>

static mfi_self main_self;

// A cell under a lock: what the tests wait for. It lies in a block that all workers see.
typedef struct cell {
  mfi_event changed;
  uint32_t tokens;
  uint32_t rounds[2];
  mfi_event turn[2];
} cell;

static mfi_ref block;

static cell *make(void) {
  block = mfi_heap_alloc(&main_self, sizeof(cell), MFI_BLOCK_BYTES);
  cell *c = mfi_payload(mfi_at(&main_self, block));
  memset(c, 0, sizeof *c);
  return c;
}

static void end(void) { mfi_heap_free(&main_self, block); }

static bool has_token(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((cell *)what)->tokens) != 0;
}

static bool take_token(cell *c) {
  uint32_t n = load_seqcst(&c->tokens);
  while (n != 0)
    if (cas_seqcst(&c->tokens, &n, n - 1))
      return true;
  return false;
}

static mfi_status wait_and_take(mfi_self *self, cell *c, mfi_ns until) {
  mfi_status st = MFI_OK;
  while (st == MFI_OK && !take_token(c))
    st = mfi_event_await(self, &c->changed, has_token, c, until);
  if (st == MFI_OK)
    mfi_event_done(self);
  else
    mfi_event_leave(self);
  return st;
}

static void give_token(mfi_self *self, cell *c) {
  mfi_event_will_wake(self, &c->changed);
  fetch_add_seqcst(&c->tokens, 1u);
  mfi_event_wake_one(self, &c->changed);
}

static void ends_at_its_deadline(void) {
  mfi_self *self = &main_self;
  cell *c = make();
  CHECK_EQ(wait_and_take(self, c, 0), MFI_TIMEDOUT);
  mfi_ns until = soon(0.005);
  CHECK_EQ(wait_and_take(self, c, until), MFI_TIMEDOUT);
  CHECK(mfi_os_now() >= until);
  CHECK_EQ(self->slot->sleeping_on, 0);
  end();
}

static void take_one(mfi_self *self, void *arg) {
  CHECK_EQ(wait_and_take(self, arg, soon(LONG_SECONDS)), MFI_OK);
}

static void wakes_each_sleeper_once(void) {
  mfi_self *self = &main_self;
  enum { N = 8 };
  cell *c = make();
  worker w[N];
  for (int i = 0; i < N; i++)
    worker_start(self, &w[i], i % 2 == 0, take_one, c);
  for (int i = 0; i < N; i++)
    worker_until_asleep(self, &w[i]);
  for (int i = 0; i < N; i++)
    give_token(self, c);
  for (int i = 0; i < N; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  CHECK_EQ(c->tokens, 0);
  end();
}

static void sleep_until_noted(mfi_self *self, void *arg) {
  CHECK_EQ(wait_and_take(self, arg, soon(LONG_SECONDS)), MFI_INTERRUPTED);
  CHECK_EQ(self->slot->notes, MFI_NOTE_INTERRUPT);
  mfi_note_clear(self, MFI_NOTE_INTERRUPT);
  CHECK_EQ(wait_and_take(self, arg, 0), MFI_TIMEDOUT);
}

static void hears_a_note_asleep_or_about_to_be(void) {
  mfi_self *self = &main_self;
  cell *c = make();
  for (int i = 0; i < 300; i++) {
    worker w;
    worker_start(self, &w, i % 2 == 0, sleep_until_noted, c);
    if (i % 3 == 0)
      worker_until_asleep(self, &w);
    mfi_note(self, w.slot, MFI_NOTE_INTERRUPT);
    CHECK_EQ(worker_join(self, &w), 0);
  }
  end();
}

// Waiters leave by a timeout in just the moment of a wake: the token must find another one.
static void wait_in_short_steps(mfi_self *self, void *arg) {
  cell *c = arg;
  unsigned seed = self->index;
  mfi_ns end_at = soon(LONG_SECONDS);
  while (mfi_os_now() < end_at) {
    seed = seed * 1103515245u + 12345u;
    mfi_ns until = mfi_os_now() + (mfi_ns)(seed >> 16) % 200000;
    if (wait_and_take(self, c, until) == MFI_OK && fetch_add_seqcst(&c->rounds[0], 1u) >= 20000)
      break;
  }
}

static void wait_long(mfi_self *self, void *arg) {
  cell *c = arg;
  while (wait_and_take(self, c, soon(LONG_SECONDS)) == MFI_OK)
    if (fetch_add_seqcst(&c->rounds[0], 1u) >= 20000)
      return;
  printf("slept beside a token\n");
  check_failed_here++;
}

static void passes_the_baton_when_it_leaves(void) {
  mfi_self *self = &main_self;
  enum { N = 6 };
  cell *c = make();
  worker w[N];
  for (int i = 0; i < N; i++)
    worker_start(self, &w[i], i < 3, i % 3 == 0 ? wait_long : wait_in_short_steps, c);
  mfi_ns end_at = soon(LONG_SECONDS);
  uint32_t given = 0;
  while (load_seqcst(&c->rounds[0]) < 20000 && mfi_os_now() < end_at) {
    give_token(self, c);
    given++;
    for (int i = 0; i < 1000 && load_seqcst(&c->tokens) > 2; i++)
      mfi_cpu_relax();
    while (load_seqcst(&c->tokens) > 50)
      usleep(100);
  }
  CHECK(given >= 20000);
  for (int i = 0; i < N + 2; i++)
    give_token(self, c);
  for (int i = 0; i < N; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  end();
}

// ---- Ping-pong: the whole way, thousands of times, with timeouts that race

#define ROUNDS 20000

typedef struct side {
  cell *c;
  unsigned me;
  bool races;
} side;

static bool my_turn(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  const side *s = what;
  return load_seqcst(&s->c->rounds[!s->me]) >= s->c->rounds[s->me] + s->me;
}

static void play(mfi_self *self, void *arg) {
  side *s = arg;
  unsigned seed = 3 + s->me;
  mfi_ns end_at = soon(LONG_SECONDS);
  while (s->c->rounds[s->me] < ROUNDS) {
    seed = seed * 1103515245u + 12345u;
    mfi_ns until = s->races ? mfi_os_now() + (mfi_ns)(seed >> 16) % 20000 : end_at;
    mfi_status st = mfi_event_await(self, &s->c->turn[s->me], my_turn, s, until);
    if (st != MFI_OK) {
      mfi_event_leave(self);
      if (mfi_os_now() < end_at)
        continue;
      printf("slept through its turn\n");
      check_failed_here++;
      return;
    }
    mfi_event_done(self);
    mfi_event_will_wake(self, &s->c->turn[!s->me]);
    store_seqcst(&s->c->rounds[s->me], s->c->rounds[s->me] + 1); // no lock is given before the wake
    mfi_event_wake_one(self, &s->c->turn[!s->me]);
  }
}

static void play_both(work_fn *fn, bool races) {
  mfi_self *self = &main_self;
  cell *c = make();
  side s[2] = {{c, 0, races}, {c, 1, races}};
  worker w[2];
  worker_start(self, &w[0], true, fn, &s[0]);
  worker_thread(self, &w[1], fn, &s[1]);
  CHECK_EQ(worker_join(self, &w[0]), 0);
  CHECK_EQ(worker_join(self, &w[1]), 0);
  CHECK_EQ(c->rounds[0], ROUNDS);
  CHECK_EQ(c->rounds[1], ROUNDS);
  end();
}

static void loses_no_wake_in_ping_pong(void) { play_both(play, false); }
static void loses_no_wake_when_timeouts_race(void) { play_both(play, true); }

// ---- The first of several

#define CELLS 3

typedef struct several {
  cell *c[CELLS];
  uint32_t taken; // of all tokens
} several;

static mfi_ref blocks[CELLS + 1];

static several *make_several(void) {
  blocks[CELLS] = mfi_heap_alloc(&main_self, sizeof(several), MFI_BLOCK_BYTES);
  several *s = mfi_payload(mfi_at(&main_self, blocks[CELLS]));
  s->taken = 0;
  for (int i = 0; i < CELLS; i++) {
    s->c[i] = make();
    blocks[i] = block;
  }
  return s;
}

static void end_several(void) {
  for (int i = 0; i <= CELLS; i++)
    mfi_heap_free(&main_self, blocks[i]);
}

static bool has_any_token(mfi_self *self, void *what) {
  const several *s = what;
  for (int i = 0; i < CELLS; i++)
    if (has_token(self, s->c[i]))
      return true;
  return false;
}

static bool take_any_token(several *s) {
  for (int i = 0; i < CELLS; i++)
    if (take_token(s->c[i]))
      return true;
  return false;
}

static mfi_status wait_and_take_any(mfi_self *self, several *s, mfi_ns until) {
  mfi_event *events[CELLS] = {&s->c[0]->changed, &s->c[1]->changed, &s->c[2]->changed};
  mfi_events all = {.event = events, .n = CELLS};
  mfi_status st = MFI_OK;
  while (st == MFI_OK && !take_any_token(s))
    st = mfi_event_await_any(self, &all, has_any_token, s, until);
  mfi_event_done(self);
  return st;
}

static void take_any_in_short_steps(mfi_self *self, void *arg) {
  several *s = arg;
  unsigned seed = self->index;
  mfi_ns end_at = soon(LONG_SECONDS);
  while (load_seqcst(&s->taken) < 3000 && mfi_os_now() < end_at) {
    seed = seed * 1103515245u + 12345u;
    mfi_ns until = seed % 4 == 0 ? mfi_os_now() + (mfi_ns)(seed >> 16) % 200000 : end_at;
    if (wait_and_take_any(self, s, until) == MFI_OK)
      fetch_add_seqcst(&s->taken, 1u);
  }
  CHECK(load_seqcst(&s->taken) >= 3000);
}

static void take_one_kind(mfi_self *self, void *arg) {
  several *s = arg;
  while (load_seqcst(&s->taken) < 3000)
    if (wait_and_take(self, s->c[self->index % CELLS], soon(LONG_SECONDS)) == MFI_OK)
      fetch_add_seqcst(&s->taken, 1u);
}

// Selectors and plain waiters share the cells: no token lies beside a sleeper.
static void wakes_who_waits_for_several(void) {
  mfi_self *self = &main_self;
  enum { N = 6 };
  several *s = make_several();
  worker w[N];
  for (int i = 0; i < N; i++)
    worker_start(self, &w[i], i % 2 == 0, i < 4 ? take_any_in_short_steps : take_one_kind, s);
  mfi_ns end_at = soon(LONG_SECONDS);
  for (uint32_t given = 0; load_seqcst(&s->taken) < 3000 && mfi_os_now() < end_at; given++) {
    give_token(self, s->c[given % CELLS]);
    while (given + 1 - load_seqcst(&s->taken) > 20 && mfi_os_now() < end_at)
      mfi_os_yield();
  }
  for (int i = 0; i < CELLS * N; i++)
    give_token(self, s->c[i % CELLS]);
  for (int i = 0; i < N; i++)
    CHECK_EQ(worker_join(self, &w[i]), 0);
  CHECK(mfi_os_now() < end_at);
  end_several();
}

static void select_until_noted(mfi_self *self, void *arg) {
  CHECK_EQ(wait_and_take_any(self, arg, soon(LONG_SECONDS)), MFI_INTERRUPTED);
  mfi_note_clear(self, MFI_NOTE_INTERRUPT);
  CHECK_EQ(wait_and_take_any(self, arg, 0), MFI_TIMEDOUT);
  CHECK_EQ(self->slot->sleeping_on, 0);
}

static void hears_a_note_while_it_waits_for_several(void) {
  mfi_self *self = &main_self;
  several *s = make_several();
  for (int i = 0; i < 100; i++) {
    worker w;
    worker_start(self, &w, i % 2 == 0, select_until_noted, s);
    if (i % 3 == 0)
      worker_until_asleep(self, &w);
    mfi_note(self, w.slot, MFI_NOTE_INTERRUPT);
    CHECK_EQ(worker_join(self, &w), 0);
  }
  end_several();
}

// ---- Deaths

static void be_killed_when_woken(mfi_self *self, void *arg) {
  cell *c = arg;
  mfi_event_await(self, &c->changed, has_token, c, soon(LONG_SECONDS));
  kill(getpid(), SIGKILL);
}

// Waits for the end of either; reaps neither.
static bool ends_first(pid_t a, pid_t b) {
  siginfo_t info;
  for (;;) {
    info.si_pid = 0;
    if (waitid(P_PID, (id_t)b, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == b)
      return false;
    if (waitid(P_PID, (id_t)a, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == a)
      return true;
    usleep(20);
  }
}

static void frees_the_others_when_a_woken_sleeper_dies(void) {
  mfi_self *self = &main_self;
  cell *c = make();
  for (int i = 0; i < 50; i++) {
    worker dies, lives;
    worker_fork(self, &dies, be_killed_when_woken, c);
    worker_until_asleep(self, &dies);
    worker_fork(self, &lives, take_one, c);
    worker_until_asleep(self, &lives);
    give_token(self, c); // mostly the first in line gets the wake and dies with it
    if (ends_first(lives.pid, dies.pid))
      kill(dies.pid, SIGKILL);
    CHECK_EQ(worker_join(self, &dies), 128 + SIGKILL);
    CHECK_EQ(worker_join(self, &lives), 0);
  }
  end();
}

static void be_killed_before_the_wake(mfi_self *self, void *arg) {
  cell *c = arg;
  mfi_event_will_wake(self, &c->changed);
  fetch_add_seqcst(&c->tokens, 1u);
  kill(getpid(), SIGKILL);
}

static void wakes_for_a_waker_that_died(void) {
  mfi_self *self = &main_self;
  cell *c = make();
  for (int i = 0; i < 50; i++) {
    worker dies, lives;
    worker_fork(self, &lives, take_one, c);
    worker_until_asleep(self, &lives);
    worker_fork(self, &dies, be_killed_before_the_wake, c);
    CHECK_EQ(worker_join(self, &dies), 128 + SIGKILL);
    CHECK_EQ(worker_join(self, &lives), 0);
  }
  end();
}

static void uses_no_cpu_while_it_sleeps(void) {
  mfi_self *self = &main_self;
  cell *c = make();
  struct timespec t0, t1;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t0);
  wait_and_take(self, c, soon(0.3));
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t1);
  CHECK((t1.tv_sec - t0.tv_sec) * 1000000 + (t1.tv_nsec - t0.tv_nsec) / 1000 < 20000);
  end();
}

// Pages of a thread's stack below its caller that are memory.
static size_t stack_pages(void) {
  static unsigned char resident[4096];
  pthread_attr_t a;
  void *bottom;
  size_t size, n = 0;
  pthread_getattr_np(pthread_self(), &a);
  pthread_attr_getstack(&a, &bottom, &size);
  pthread_attr_destroy(&a);
  size_t pages = ((uintptr_t)&a - (uintptr_t)bottom) / 4096;
  if (pages > sizeof resident || mincore(bottom, pages * 4096, resident) != 0)
    return SIZE_MAX;
  for (size_t i = 0; i < pages; i++)
    n += resident[i] & 1;
  return n;
}

static __attribute__((noinline)) void go_deep(void) {
  volatile char room[20 * 4096];
  for (size_t i = 0; i < sizeof room; i += 512)
    room[i] = 1;
}

typedef struct sleeper {
  cell *c;
  uint32_t slot;
  size_t before, after;
} sleeper;

static void *sleep_deep(void *arg) {
  sleeper *s = arg;
  mfi_self self = main_self;
  self.index = s->slot;
  self.slot = mfi_slot_at(&self, s->slot);
  self.sleeps = 1;
  go_deep();
  s->before = stack_pages();
  wait_and_take(&self, s->c, soon(0.01));
  s->after = stack_pages();
  return NULL;
}

static void gives_back_the_stack_that_a_worker_does_not_use_while_it_sleeps(void) {
  sleeper s = {.c = make(), .slot = mfi_slot_take(&main_self)};
  pthread_t thread;
  CHECK_EQ(mfi_os_thread_open(&thread, sleep_deep, &s, 256 * 1024), MFI_OK);
  mfi_os_thread_join(thread);
  CHECK(s.before >= 20 && s.before != SIZE_MAX);
  CHECK(s.after <= 8);
  mfi_slot_release(&main_self, s.slot);
  end();
}

int main(void) {
  world_open(&main_self, (size_t)16 << 20);
  RUN(ends_at_its_deadline);
  RUN(wakes_each_sleeper_once);
  RUN(hears_a_note_asleep_or_about_to_be);
  RUN(passes_the_baton_when_it_leaves);
  RUN(loses_no_wake_in_ping_pong);
  RUN(loses_no_wake_when_timeouts_race);
  RUN(wakes_who_waits_for_several);
  RUN(hears_a_note_while_it_waits_for_several);
  RUN(frees_the_others_when_a_woken_sleeper_dies);
  RUN(wakes_for_a_waker_that_died);
  RUN(uses_no_cpu_while_it_sleeps);
  RUN(gives_back_the_stack_that_a_worker_does_not_use_while_it_sleeps);
  mfi_region_close(&main_self);
  return check_done();
}
