// The walk: a process is killed at the first, second, third … step of an operation, until the
// operation gets through. After each death its slot is buried, now and then by a burier that is
// killed too; then everything must be as if the operation had happened, or had not, and nothing is
// left over.
#ifndef MFI_TESTS_WALK_H
#define MFI_TESTS_WALK_H

#include "world.h"

#ifdef MFI_FAULTS

typedef struct stage {
  mfi_self self; // of who watches
  mfi_handle h;  // the object on stage, and the watcher's place of it
  uint32_t place;
  mfi_object *o;
  mfi_handle other; // a second object, named in messages
  uint32_t other_place;
  bool has_other;
  uint64_t before; // messages in the queue before the act
  worker sleeper;
  // The actor's own, in its copy of this stage.
  uint32_t mine;
  mfi_ref block;
  mfi_handle last;
} stage;

typedef struct scene {
  const char *name;
  void (*set)(stage *t);                       // the watcher's: before the act
  void (*prepare)(mfi_self *self, stage *t);   // the actor's: before its steps are counted
  void (*act)(mfi_self *self, stage *t);       // the actor's: what is walked
  void (*meanwhile)(stage *t, const worker *); // the watcher's: while the actor acts
  void (*check)(stage *t, bool done);          // the watcher's: after the burial
} scene;

// ---- What many scenes need

static inline void set_nothing(stage *t) { MFI_UNUSED(t); }

static inline void set_object(stage *t, mfi_object_kind kind) {
  t->h = mfi_object_make(&t->self, kind, &t->place);
  t->o = mfi_object_of(&t->self, t->h);
}

static inline void set_other(stage *t, mfi_object_kind kind) {
  t->other = mfi_object_make(&t->self, kind, &t->other_place);
  t->has_other = true;
}

static inline void set_sleeper(stage *t, work_fn *fn) {
  worker_fork(&t->self, &t->sleeper, fn, t);
  worker_until_asleep(&t->self, &t->sleeper);
}

static inline void hold(mfi_self *self, stage *t) {
  CHECK_EQ(mfi_handle_add(self, t->h, &t->mine), MFI_OK);
}

static inline bool has_ended(pid_t pid) {
  siginfo_t info = {.si_pid = 0};
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

// For the watcher, meanwhile. False: the actor has ended.
static inline bool falls_asleep(stage *t, const worker *actor) {
  while (!has_ended(actor->pid) && !sleeps(&t->self, actor))
    usleep(20);
  return !has_ended(actor->pid);
}

static inline void drop_mine(mfi_self *self, stage *t) { mfi_handle_drop(self, t->mine); }

static inline void check_nothing(stage *t, bool done) {
  MFI_UNUSED(t);
  MFI_UNUSED(done);
}

// ---- The walk

static inline void leaves_nothing(stage *t) {
  mfi_self *self = &t->self;
  if (t->h != 0)
    mfi_handle_drop(self, t->place);
  if (t->has_other)
    mfi_handle_drop(self, t->other_place);
  CHECK_EQ(mfi_objects_live(self), 0);
  CHECK_EQ(mfi_heap_live(self), self->slot->handles != 0);
  CHECK_EQ(self->slot->hand, 0);
  CHECK_EQ(self->slot->dying, 0);
  CHECK_EQ(self->slot->waking[0] | self->slot->waking[1], 0);
  // And the heap gives no memory twice.
  mfi_ref last = 0;
  for (int i = 0; i < 40; i++) {
    mfi_ref ref = mfi_heap_alloc(self, i % 4 == 3 ? 150000 : 100, MFI_BLOCK_BYTES);
    CHECK(ref != 0 && ref != last);
    *(uint64_t *)mfi_payload(mfi_at(self, ref)) = last;
    last = ref;
  }
  for (int i = 0; i < 40; i++) {
    mfi_ref next = *(uint64_t *)mfi_payload(mfi_at(self, last));
    mfi_heap_free(self, last);
    last = next;
  }
  CHECK_EQ(last, 0);
}

typedef struct acting {
  const scene *s;
  stage *t;
  int64_t step;
} acting;

static inline void act(mfi_self *self, void *arg) {
  const acting *a = arg;
  if (a->s->prepare != NULL)
    a->s->prepare(self, a->t);
  mfi_fault_countdown = a->step;
  a->s->act(self, a->t);
  mfi_fault_countdown = 0;
}

typedef struct burier {
  uint32_t dead;
  int64_t step;
} burier;

static inline void bury(mfi_self *self, void *arg) {
  const burier *b = arg;
  mfi_fault_countdown = b->step;
  mfi_slot_bury(self, b->dead);
  mfi_fault_countdown = 0;
}

// Buries `dead` by a process that is killed at `step`, then to the end. True: it got through.
static inline bool bury_twice(mfi_self *self, uint32_t dead, int64_t step) {
  uint64_t id = mfi_slot_id(self, dead);
  burier b = {dead, step};
  worker w;
  worker_fork(self, &w, bury, &b);
  int code = worker_join(self, &w); // which buries the burier
  CHECK(code == 0 || code == 128 + SIGKILL);
  if (mfi_slot_is(self, id))
    mfi_slot_bury(self, dead);
  return code == 0;
}

// One death. *buried: the burier, killed at its bury_step (0: never), got through.
static inline bool play(const scene *s, int64_t step, int64_t bury_step, bool *buried) {
  stage t = {.has_other = false};
  worker w;
  int failed_before = check_failed_here;
  world_open(&t.self, (size_t)8 << 20);
  s->set(&t);
  acting a = {s, &t, step};
  worker_fork(&t.self, &w, act, &a);
  if (s->meanwhile != NULL)
    s->meanwhile(&t, &w);
  int code = worker_reap(&w);
  CHECK(code == 0 || code == 128 + SIGKILL);
  *buried = true;
  if (bury_step == 0)
    mfi_slot_bury(&t.self, w.slot);
  else
    *buried = bury_twice(&t.self, w.slot, bury_step);
  s->check(&t, code == 0);
  leaves_nothing(&t);
  mfi_region_close(&t.self);
  if (check_failed_here != failed_before)
    printf("  in %s, killed at step %ld, burier at %ld\n", s->name, (long)step, (long)bury_step);
  return code == 0;
}

// Of the burier's steps some are walked for each death, others for the next; MFI_WALK=all: each
// one.
static inline int64_t burier_step(int64_t m, int64_t step) {
  return getenv("MFI_WALK") != NULL ? m + 1 : m + 1 + (m + step % 5) / 2;
}

static inline bool walks_burier(int64_t step) {
  return getenv("MFI_WALK") != NULL || step < 32 || step % 8 == 0;
}

static inline void walk(const scene *s) {
  check_failed_here = 0;
  int64_t step = 1, deaths = 0;
  bool done = false, buried;
  for (; !done && step < 2000 && check_failed_here == 0; step++) {
    done = play(s, step, 0, &buried);
    buried = !walks_burier(step);
    for (int64_t m = 1 + step % 3; !buried && check_failed_here == 0; m = burier_step(m, step)) {
      play(s, step, m, &buried);
      deaths++;
    }
  }
  CHECK(done);
  printf("%s death_at_each_step_of_%s\n", check_failed_here ? "not ok" : "ok", s->name);
  printf("  %ld steps, %ld deaths of buriers\n", (long)step - 1, (long)deaths);
  fflush(stdout);
  check_failed_tests += check_failed_here != 0;
}

static inline int walk_all(const scene *scenes, size_t n, int argc, char **argv) {
  for (size_t i = 0; i < n; i++)
    if (argc < 2 || strcmp(argv[1], scenes[i].name) == 0)
      walk(&scenes[i]);
  return check_done();
}

#endif

#endif
