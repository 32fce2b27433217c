// The walk over a pool's jobs of cells: a process is killed at the first, second, third … step of
// submitting, running, dropping or taking them. After each death its slot is buried, now and then
// by a burier that is killed too; then what is left is run, and every item must have ended once,
// with at most one of them charged, and nothing is left over.
#include "world.h"

#ifdef MFI_FAULTS

#include "flow/cells.h"
#include "flow/runtime.h"

#define ITEMS 3
#define LARGE 500 // bytes of a result that needs a block

typedef struct stage {
  mfi_self self; // of who watches
  mfi_handle pool, batch;
  uint32_t pool_place, batch_place;
  mfi_object *core;
  uint32_t jobs; // that were submitted before the act
  bool is_cancelled;
  // The actor's own, in its copy of this stage.
  mfi_handle own_batch;
  uint32_t own_place;
  mfi_ref taken[4];
} stage;

typedef struct scene {
  const char *name;
  void (*set)(stage *t);                     // the watcher's: before the act
  void (*prepare)(mfi_self *self, stage *t); // the actor's: before its steps are counted
  void (*act)(mfi_self *self, stage *t);     // the actor's: what is walked
} scene;

static mfi_runtime runtime;

// ---- Making

static mfi_source bytes(const mfi_bytes *b) { return mfi_source_bytes(b); }

static mfi_handle make_batch(mfi_self *self, mfi_object *core, uint32_t *place) {
  mfi_bytes image = {"f", 1};
  mfi_batch_config c = {.image = bytes(&image), .unordered = true};
  mfi_handle h = 0;
  CHECK_EQ(mfi_batch_make(self, mfi_object_handle(self, core), &c, &h, place), MFI_OK);
  return h;
}

static void open_stage(stage *t) {
  world_open(&t->self, (size_t)8 << 20);
  t->self.ops = mfi_flow_ops;
  t->self.drops = mfi_flow_drops;
  runtime = (mfi_runtime){.region = t->self.region, .warden = -1};
  t->self.runtime = &runtime;
  mfi_bytes none = {"", 0};
  mfi_pool_config c = {.backend = MFI_BACKEND_SERIAL, .name = "walk", .payload = bytes(&none)};
  CHECK_EQ(mfi_pool_make(&t->self, &c, &t->pool, &t->pool_place), MFI_OK);
  t->core = mfi_pool_core(&t->self, t->pool);
  t->batch = make_batch(&t->self, t->core, &t->batch_place);
}

static mfi_status submit_to(mfi_self *self, mfi_object *core, mfi_handle batch) {
  struct {
    mfi_item head;
    uint64_t value;
  } items[ITEMS];
  mfi_job_config c = {.nitems = ITEMS, .first = 1, .label = "walk"};
  mfi_ref job;
  uint32_t done = 0;
  for (uint64_t i = 0; i < ITEMS; i++) {
    items[i].head = (mfi_item){.size = sizeof items[i].value};
    items[i].value = i;
  }
  mfi_status st = mfi_cells_make(self, core, &c, items, sizeof items[0].value, &job);
  if (st == MFI_OK)
    st = mfi_pool_submit_many(self, core, &job, 1, mfi_object_of(self, batch), &done);
  return st;
}

static void set_none(stage *t) { t->jobs = 0; }
static void set_one(stage *t) {
  CHECK_EQ(submit_to(&t->self, t->core, t->batch), MFI_OK);
  t->jobs = 1;
}
static void set_stopping(stage *t) {
  mfi_batch_of(mfi_object_of(&t->self, t->batch))->stop_on_error = 1;
  set_one(t);
}
static void set_two(stage *t) {
  set_one(t);
  set_one(t);
  t->jobs = 2;
}
static void set_cancelled(stage *t) {
  set_one(t);
  mfi_batch_cancel(&t->self, mfi_object_of(&t->self, t->batch), false, MFI_CANCELLED);
  t->is_cancelled = true;
}

// ---- Running

static mfi_status end_cell(mfi_self *self, mfi_ref job, const mfi_view *v, mfi_status status,
                           uint64_t size) {
  static char text[LARGE];
  mfi_bytes b = {text, size};
  mfi_source src = bytes(&b);
  memset(text, (int)v->index, sizeof text);
  return mfi_cells_end(self, job, v->index, status, &src);
}

// At most `most` cells of a job that was taken, every second result is a large one.
static void run_cells(mfi_self *self, mfi_object *core, mfi_ref job, int most) {
  mfi_view v;
  for (int i = 0; i < most && mfi_cells_claim(self, core, job, &v); i++)
    CHECK_EQ(end_cell(self, job, &v, MFI_OK, v.index % 2 == 0 ? 8 : LARGE), MFI_OK);
}

static void run_all(mfi_self *self, mfi_object *core) {
  mfi_ref job;
  while (mfi_pool_try(self, core, &job) == MFI_OK) {
    run_cells(self, core, job, ITEMS);
    mfi_job_end(self, core, job, MFI_OK);
  }
}

// ---- Acts

static void act_submit(mfi_self *self, stage *t) { submit_to(self, t->core, t->batch); }
static void act_run(mfi_self *self, stage *t) { run_all(self, t->core); }

static void act_run_on(mfi_self *self, stage *t) {
  mfi_ref job;
  if (mfi_pool_try(self, t->core, &job) != MFI_OK)
    return;
  while (job != 0) {
    run_cells(self, t->core, job, ITEMS);
    job = mfi_job_end_and_take(self, t->core, job, MFI_OK);
  }
}

static void act_leave_early(mfi_self *self, stage *t) {
  mfi_ref job;
  CHECK_EQ(mfi_pool_try(self, t->core, &job), MFI_OK);
  run_cells(self, t->core, job, 1);
  mfi_job_end(self, t->core, job, MFI_OK);
}

static void act_try(mfi_self *self, stage *t) {
  mfi_ref job;
  CHECK_EQ(mfi_pool_try(self, t->core, &job), MFI_EMPTY);
}

static void act_close(mfi_self *self, stage *t) {
  mfi_ref job;
  CHECK_EQ(mfi_pool_try(self, t->core, &job), MFI_OK);
  run_cells(self, t->core, job, 1);
  mfi_cells_close(self, job, MFI_CANCELLED);
  mfi_job_end(self, t->core, job, MFI_OK);
}

static void act_fail(mfi_self *self, stage *t) {
  mfi_ref job;
  mfi_view v;
  CHECK_EQ(mfi_pool_try(self, t->core, &job), MFI_OK);
  CHECK(mfi_cells_claim(self, t->core, job, &v));
  CHECK_EQ(end_cell(self, job, &v, MFI_FAILED, 8), MFI_OK);
  mfi_cells_tell_failure(self, t->core, job);
  mfi_job_end(self, t->core, job, MFI_OK);
}

static void prepare_inside(mfi_self *self, stage *t) {
  CHECK_EQ(mfi_pool_try(self, t->core, &t->taken[0]), MFI_OK);
  mfi_view v;
  CHECK(mfi_cells_claim(self, t->core, t->taken[0], &v));
  t->own_place = v.index;
}
static void act_inside(mfi_self *self, stage *t) {
  mfi_ref job;
  mfi_view v = {.index = t->own_place};
  CHECK_EQ(mfi_pool_try(self, t->core, &job), MFI_OK);
  CHECK(job != t->taken[0]);
  run_cells(self, t->core, job, ITEMS);
  mfi_job_end(self, t->core, job, MFI_OK);
  CHECK_EQ(self->slot->job, t->taken[0]);
  CHECK_EQ(end_cell(self, t->taken[0], &v, MFI_OK, 8), MFI_OK);
  mfi_job_end(self, t->core, t->taken[0], MFI_OK);
}

static void prepare_batch(mfi_self *self, stage *t) {
  t->own_batch = make_batch(self, t->core, &t->own_place);
  CHECK_EQ(submit_to(self, t->core, t->own_batch), MFI_OK);
}
static void prepare_run_batch(mfi_self *self, stage *t) {
  prepare_batch(self, t);
  run_all(self, t->core);
}
static void act_let_go(mfi_self *self, stage *t) {
  MFI_UNUSED(t);
  mfi_handle_drop(self, t->own_place);
}
static void act_take_results(mfi_self *self, stage *t) {
  uint32_t n = mfi_batch_take(self, mfi_object_of(self, t->own_batch), t->taken, 4);
  CHECK_EQ(n, 1);
  mfi_job_discard(self, t->taken[0]);
}

static const scene scenes[] = {
    {"submitting", set_none, NULL, act_submit},
    {"submitting_behind_others", set_one, NULL, act_submit},
    {"running", set_one, NULL, act_run},
    {"running_one_after_the_other", set_two, NULL, act_run_on},
    {"leaving_early", set_one, NULL, act_leave_early},
    {"dropping_what_was_cancelled", set_cancelled, NULL, act_try},
    {"closing_what_has_begun", set_one, NULL, act_close},
    {"telling_of_a_failure", set_stopping, NULL, act_fail},
    {"running_inside_a_task", set_two, prepare_inside, act_inside},
    {"letting_a_batch_go", set_none, prepare_batch, act_let_go},
    {"letting_an_ended_batch_go", set_none, prepare_run_batch, act_let_go},
    {"taking_results", set_none, prepare_run_batch, act_take_results},
};

// ---- Checks

static void check_result(const mfi_view *v, uint32_t *deaths) {
  const char *text = v->bytes;
  if (v->death) {
    const mfi_death *d = v->bytes;
    CHECK_EQ(v->kind, MFI_WORKER_DIED);
    CHECK_EQ(d->item, v->index + 1);
    CHECK_EQ(strcmp(d->worker, "actor"), 0);
    ++*deaths;
    return;
  }
  for (uint64_t i = 0; i < v->size; i++)
    CHECK(text[i] == (char)v->index);
}

// What is taken from the watcher's batch: each item has one result, unless it was dropped.
static void check_taken(stage *t, const scene *s, bool done) {
  mfi_object *batch = mfi_object_of(&t->self, t->batch);
  mfi_ref job[4];
  uint32_t n = mfi_batch_take(&t->self, batch, job, 4), deaths = 0;
  bool drops = t->is_cancelled || s->act == act_close || s->act == act_fail;
  CHECK_EQ(mfi_batch_of(batch)->left, 0);
  CHECK(n >= t->jobs && n <= t->jobs + (s->act == act_submit));
  CHECK(!done || s->act != act_submit || n == t->jobs + 1);
  while (n > 0) {
    mfi_cursor c = {0};
    mfi_view v;
    uint32_t results = 0;
    for (; mfi_job_result(&t->self, job[n - 1], &c, &v); results++)
      check_result(&v, &deaths);
    CHECK(results == ITEMS || (drops && results < ITEMS));
    mfi_job_discard(&t->self, job[--n]);
  }
  CHECK(deaths <= 1 || s->act == act_inside);
  CHECK(deaths == 0 || !done);
}

static void check_counts(stage *t) {
  const mfi_core *c = mfi_core_of(t->core);
  const mfi_counts n = mfi_pool_count(&t->self, t->core);
  CHECK_EQ(n.queued + n.running, 0);
  CHECK_EQ(n.submitted, n.done + n.failed + n.cancelled);
  CHECK_EQ(c->jobs, 0);
  CHECK_EQ(c->queue.first, 0);
  CHECK_EQ(c->queue.last, 0);
}

static void leaves_nothing(stage *t) {
  mfi_self *self = &t->self;
  mfi_handle_drop(self, t->batch_place);
  mfi_handle_drop(self, t->pool_place);
  CHECK_EQ(mfi_objects_live(self), 0);
  CHECK_EQ(mfi_heap_live(self), self->slot->handles != 0);
  CHECK_EQ(self->slot->hand, 0);
  CHECK_EQ(self->slot->job, 0);
  CHECK_EQ(self->slot->waking[0] | self->slot->waking[1], 0);
}

// ---- The walk

typedef struct actor {
  const scene *s;
  stage *t;
  int64_t step;
} actor;

static void act(mfi_self *self, void *arg) {
  const actor *a = arg;
  strcpy(self->slot->name, "actor");
  if (a->s->prepare != NULL)
    a->s->prepare(self, a->t);
  mfi_fault_countdown = a->step;
  a->s->act(self, a->t);
  mfi_fault_countdown = 0;
}

static void bury_worker(mfi_self *self, uint32_t dead) {
  mfi_death death = {.exitcode = -SIGKILL};
  memcpy(death.worker, mfi_slot_at(self, dead)->name, sizeof death.worker);
  mfi_slot_settle(self, dead);
  mfi_pool_bury_job(self, dead, &death);
  mfi_slot_bury(self, dead);
}

typedef struct burier {
  uint32_t dead;
  int64_t step;
} burier;

static void bury(mfi_self *self, void *arg) {
  const burier *b = arg;
  mfi_fault_countdown = b->step;
  bury_worker(self, b->dead);
  mfi_fault_countdown = 0;
}

// Buries `dead` by a process that is killed at `step`, then to the end. True: it got through.
static bool bury_twice(mfi_self *self, uint32_t dead, int64_t step) {
  uint64_t id = mfi_slot_id(self, dead);
  burier b = {dead, step};
  worker w;
  worker_fork(self, &w, bury, &b);
  int code = worker_reap(&w);
  CHECK(code == 0 || code == 128 + SIGKILL);
  bury_worker(self, w.slot);
  if (mfi_slot_is(self, id))
    bury_worker(self, dead);
  return code == 0;
}

// One death. *buried: the burier, killed at its bury_step (0: never), got through.
static bool play(const scene *s, int64_t step, int64_t bury_step, bool *buried) {
  stage t = {.is_cancelled = false};
  worker w;
  int failed_before = check_failed_here;
  open_stage(&t);
  s->set(&t);
  actor a = {s, &t, step};
  worker_fork(&t.self, &w, act, &a);
  int code = worker_reap(&w);
  CHECK(code == 0 || code == 128 + SIGKILL);
  *buried = true;
  if (bury_step == 0)
    bury_worker(&t.self, w.slot);
  else
    *buried = bury_twice(&t.self, w.slot, bury_step);
  run_all(&t.self, t.core);
  check_counts(&t);
  check_taken(&t, s, code == 0);
  leaves_nothing(&t);
  mfi_region_close(&t.self);
  if (check_failed_here != failed_before)
    printf("  in %s, killed at step %ld, burier at %ld\n", s->name, (long)step, (long)bury_step);
  return code == 0;
}

// Of the burier's steps some are walked for each death, others for the next; MFI_WALK=all: each
// one.
static int64_t burier_step(int64_t m, int64_t step) {
  return getenv("MFI_WALK") != NULL ? m + 1 : m + 3 + (m + step % 5) / 2;
}

static void walk(const scene *s) {
  check_failed_here = 0;
  int64_t step = 1, deaths = 0;
  bool done = false, buried;
  for (; !done && step < 2000 && check_failed_here == 0; step++) {
    done = play(s, step, 0, &buried);
    buried = false;
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

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
    if (argc < 2 || strcmp(argv[1], scenes[i].name) == 0)
      walk(&scenes[i]);
  return check_done();
}

#else

int main(void) {
  printf("skip death_at_each_step\n");
  return 0;
}

#endif
