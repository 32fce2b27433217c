// Pools: how they and their workers come and go. Floor 4; see pool.h. Locks: the core's. Sleeps in
// mfi_pool_wait.
#include "base/assert.h"
#include "base/atomic.h"
#include "flow/cells.h"
#include "flow/pool_queue.h"
#include "flow/runtime.h"
#include "flow/spec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

// ---- Making

static mfi_status fill(mfi_self *self, mfi_core *c, const mfi_pool_config *config) {
  c->backend = config->backend;
  c->want = config->backend == MFI_BACKEND_SERIAL ? 0 : config->workers;
  c->max_tasks = config->max_tasks;
  c->memory_limit = config->memory_limit;
  c->limit = config->limit;
  c->libs = config->libs;
  c->fragile = config->fragile;
  c->next_number = 1;
  snprintf(c->name, sizeof c->name, "%s", config->name);
  mfi_ref spec;
  mfi_status st = mfi_spec_make(self, &config->payload, config->backend, &spec);
  if (st != MFI_OK)
    return st;
  mfi_hand_raise(self, spec);
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &c->spec, spec);
  mfi_hand_out(self, lock, spec);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  return MFI_OK;
}

mfi_object *mfi_pool_core(mfi_self *self, mfi_handle pool) {
  mfi_object *o = mfi_object_of(self, pool);
  if (o == NULL || o->kind != MFI_KIND_POOL)
    return NULL;
  return mfi_object_of(self, ((mfi_pool *)(void *)o->body)->core);
}

// ---- Workers come

// May one more be started? Counts it in.
static bool count_in(mfi_self *self, mfi_object *core, uint32_t *number, uint32_t *epoch) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  bool runs = c->state == MFI_POOL_OPEN || (c->state == MFI_POOL_CLOSING && c->jobs > 0);
  bool all_asleep = c->asleep >= c->alive && c->jobs > 0 && c->alive < 2 * c->want;
  bool yes = runs && (c->alive < c->want || all_asleep);
  *number = c->next_number;
  *epoch = c->epoch;
  if (yes) {
    mfi_change32(self, &core->lock, &c->alive, c->alive + 1);
    mfi_change32(self, &core->lock, &c->present, c->present + 1);
    mfi_change32(self, &core->lock, &c->next_number, c->next_number + 1);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  return yes;
}

static void count_out(mfi_self *self, mfi_object *core) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  mfi_change32(self, &core->lock, &c->alive, c->alive - 1);
  mfi_change32(self, &core->lock, &c->present, c->present - 1);
  mfi_lock_commit(self, &core->lock);
  mfi_lock_give(self, &core->lock);
}

static mfi_status start_one(mfi_self *self, mfi_object *core, uint32_t number, uint32_t epoch) {
  mfi_core *c = mfi_core_of(core);
  char name[MFI_NAME_SIZE + 16];
  snprintf(name, sizeof name, "%s:%u", c->name, number);
  mfi_worker_config config = {.backend = c->backend,
                              .daemon = 1,
                              .number = number,
                              .memory_limit = c->memory_limit,
                              .name = name,
                              .pool = mfi_object_handle(self, core)};
  mfi_handle h;
  uint32_t place;
  mfi_status st = mfi_worker_make(self, &config, &h, &place);
  if (st != MFI_OK) {
    count_out(self, core);
    return st;
  }
  mfi_worker *w = mfi_worker_of(mfi_object_of(self, h));
  store_relaxed(&w->epoch, epoch);
  w->calls = load_acquire(&c->call_count);
  st = mfi_worker_start(self, h, NULL);
  int error = errno;
  if (load_acquire(&w->state) == MFI_WORKER_NEW) // else its end counts it out
    count_out(self, core);
  mfi_handle_drop(self, place);
  errno = error;
  return st;
}

// MFI_OK: it has all that it wants; else why it has not.
static mfi_status heal(mfi_self *self, mfi_object *core) {
  uint32_t number, epoch;
  uint32_t most = 2 * load_acquire(&mfi_core_of(core)->want); // others may fail behind our back
  mfi_status st = MFI_OK;
  while (st == MFI_OK && most-- > 0 && count_in(self, core, &number, &epoch))
    st = start_one(self, core, number, epoch);
  return st;
}

// With fewer it goes on, without any it cannot.
void mfi_pool_lacks(mfi_self *self, mfi_object *core, int error) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  bool none = c->alive == 0;
  if (none && c->state != MFI_POOL_BROKEN)
    c->broken_by = (mfi_death){.exitcode = error};
  mfi_lock_give(self, &core->lock);
  if (none)
    mfi_pool_break(self, core, NULL);
}

void mfi_pool_heal(mfi_self *self, mfi_object *core) {
  mfi_status st = heal(self, core);
  if (st != MFI_OK)
    mfi_pool_lacks(self, core, st == MFI_NOMEM ? ENOMEM : errno);
}

// The caller's reference goes to *place, where all is well.
static mfi_status make_handle(mfi_self *self, mfi_handle core, mfi_handle *out, uint32_t *place) {
  *out = mfi_object_make(self, MFI_KIND_POOL, place);
  if (*out == 0)
    return MFI_NOMEM;
  mfi_pool *p = (mfi_pool *)(void *)mfi_object_of(self, *out)->body;
  mfi_status st = mfi_handle_hold(self, core, &p->core);
  if (st == MFI_OK) {
    mfi_object *o = mfi_object_of(self, core);
    mfi_runtime_logf(self, MFI_LOG_INFO, "%s is open", mfi_core_of(o)->name);
    st = heal(self, o);
  }
  int error = errno;
  if (st != MFI_OK)
    mfi_handle_drop(self, *place);
  errno = error;
  return st;
}

mfi_status mfi_pool_make(mfi_self *self, const mfi_pool_config *config, mfi_handle *out,
                         uint32_t *place) {
  uint32_t core_place;
  mfi_handle core = mfi_object_make(self, MFI_KIND_CORE, &core_place);
  if (core == 0)
    return MFI_NOMEM;
  mfi_status st = fill(self, mfi_core_of(mfi_object_of(self, core)), config);
  if (st == MFI_OK)
    st = make_handle(self, core, out, place);
  int error = errno;
  mfi_handle_drop(self, core_place);
  errno = error;
  return st;
}

// ---- Workers go

bool mfi_pool_leave(mfi_self *self, mfi_object *core, mfi_worker *w) {
  mfi_core *c = mfi_core_of(core);
  mfi_slot *s = self->slot;
  mfi_lock_take(self, &core->lock);
  bool over = c->state == MFI_POOL_TERMINATED || c->state == MFI_POOL_BROKEN ||
              (c->state == MFI_POOL_CLOSING && c->jobs == 0 && c->directed.first == 0);
  uint32_t most = c->want + (c->asleep < c->want ? c->asleep : c->want);
  bool surplus = c->alive > most || w->epoch != c->epoch;
  bool used_up = c->max_tasks != 0 && w->tasks >= c->max_tasks;
  bool leave = over || surplus || used_up || load_acquire(&s->stop) != 0;
  if (leave) {
    mfi_change32(self, &core->lock, &c->alive, c->alive - 1);
    mfi_change32(self, &core->lock, &s->left, 1);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  return leave;
}

// Jobs for a worker that is gone.
static void drop_directed(mfi_self *self, mfi_object *core, uint64_t id) {
  mfi_core *c = mfi_core_of(core);
  for (;;) {
    mfi_ending e;
    mfi_lock_take(self, &core->lock);
    mfi_ref job = c->directed.first;
    while (job != 0 && mfi_job_at(self, job)->taker != id)
      job = mfi_job_at(self, job)->next;
    if (job != 0)
      e = mfi_job_finish(self, core, job, NULL, MFI_CANCELLED);
    mfi_lock_give(self, &core->lock);
    if (job == 0)
      return;
    mfi_job_tell(self, core, &e);
  }
}

void mfi_pool_worker_left(mfi_self *self, mfi_object *core, uint32_t slot, const mfi_death *death,
                          bool unexpected) {
  mfi_core *c = mfi_core_of(core);
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_worker *w = mfi_worker_of(mfi_object_of(self, s->worker));
  mfi_lock_take(self, &core->lock);
  bool breaks =
      unexpected && c->fragile && w->ready == 0 && load_acquire(&c->state) != MFI_POOL_TERMINATED;
  if (s->left != 2) {
    mfi_change32(self, &core->lock, &c->present, c->present - 1);
    if (s->left == 0)
      mfi_change32(self, &core->lock, &c->alive, c->alive - 1);
    if (unexpected)
      mfi_change64(self, &core->lock, &c->died, c->died + 1);
    if (s->asleep)
      mfi_change32(self, &core->lock, &c->asleep, c->asleep - 1);
    mfi_change32(self, &core->lock, &s->left, 2);
    mfi_event_will_wake(self, &c->calm);
    mfi_lock_commit(self, &core->lock);
  }
  if (breaks && c->state != MFI_POOL_BROKEN)
    c->broken_by = *death;
  mfi_lock_give(self, &core->lock);
  mfi_event_wake_all(self, &c->calm);
  drop_directed(self, core, mfi_slot_id(self, slot));
  if (breaks)
    mfi_pool_break(self, core, NULL);
}

// ---- Sleeping inside a task

static void change_asleep(mfi_self *self, mfi_object *core, uint32_t now) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  if (self->slot->asleep != now) {
    mfi_change32(self, &core->lock, &c->asleep, c->asleep + (now ? 1u : UINT32_MAX));
    mfi_change32(self, &core->lock, &self->slot->asleep, now);
    if (now == 0) // spare workers are to look whether they are still needed
      mfi_change32(self, &core->lock, &c->kick, c->kick + 1);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
}

void mfi_pool_sleep(mfi_self *self, mfi_object *core) {
  change_asleep(self, core, 1);
  mfi_pool_heal(self, core);
}

void mfi_pool_wake(mfi_self *self, mfi_object *core) {
  change_asleep(self, core, 0);
  if (load_acquire(&mfi_core_of(core)->alive) > load_acquire(&mfi_core_of(core)->want))
    mfi_event_wake_all(self, &mfi_core_of(core)->work);
}

// ---- A worker's job after its death

bool mfi_death_by_deadline(const mfi_slot *dead, int exitcode) {
  return exitcode == -MFI_DEADLINE_SIGNAL && dead->deadline != 0 && dead->deadline <= mfi_os_now();
}

static void requeue(mfi_self *self, mfi_object *core, mfi_ref job, mfi_slot *dead) {
  mfi_core *c = mfi_core_of(core);
  mfi_job *j = mfi_job_at(self, job);
  mfi_lock *lock = &core->lock;
  uint32_t ended = mfi_job_ended(j), left = mfi_job_left(j);
  uint32_t ended_now = ended - j->counted_ended, failed_now = j->failed - j->counted_failed;
  mfi_core_push_front(self, core, &c->queue, job);
  mfi_change32(self, lock, &j->state, MFI_JOB_QUEUED);
  mfi_change64(self, lock, &dead->job, j->outer);
  mfi_change64(self, lock, &c->running, c->running - left - ended_now);
  mfi_change64(self, lock, &c->queued, c->queued + left);
  mfi_change64(self, lock, &c->done, c->done + ended_now - failed_now);
  mfi_change64(self, lock, &c->failed, c->failed + failed_now);
  mfi_change32(self, lock, &j->counted_ended, ended);
  mfi_change32(self, lock, &j->counted_failed, j->failed);
  mfi_event_will_wake(self, &c->work);
  mfi_lock_commit(self, lock);
}

// Under the lock. Items that nobody began go back, unless nobody wants them any more.
static bool settle(mfi_self *self, mfi_object *core, mfi_ref job, mfi_slot *dead, mfi_status status,
                   mfi_ending *e) {
  mfi_core *c = mfi_core_of(core);
  mfi_job *j = mfi_job_at(self, job);
  mfi_status rest = MFI_OK;
  if (c->state == MFI_POOL_TERMINATED)
    rest = MFI_TERMINATED;
  if (c->state == MFI_POOL_BROKEN)
    rest = MFI_INITIALIZER;
  if (mfi_job_left(j) != 0 && rest == MFI_OK) {
    if (mfi_job_is_cancelled(self, j))
      rest = MFI_CANCELLED;
    else if (j->directed)
      rest = status;
    else {
      requeue(self, core, job, dead);
      return false;
    }
  }
  *e = mfi_job_finish(self, core, job, dead, mfi_job_left(j) == 0 ? MFI_OK : rest);
  return true;
}

void mfi_pool_give_back(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_lock_take(self, &core->lock);
  requeue(self, core, job, self->slot);
  mfi_lock_give(self, &core->lock);
  mfi_event_wake_one(self, &mfi_core_of(core)->work);
}

// Why the dead slot's job ends: somebody asked for it, its time was over, or it died.
static mfi_status cause(mfi_slot *dead, mfi_ref job, const mfi_death *death) {
  mfi_status why = (mfi_status)(load_acquire(&dead->stop) & 0xffff);
  mfi_ref meant = load_acquire(&dead->stop_job);
  if (why != 0 && (meant == 0 || meant == job))
    return why;
  return mfi_death_by_deadline(dead, death->exitcode) ? MFI_TASK_TIMEOUT : MFI_WORKER_DIED;
}

// Stopped because nobody wants it any more: then no item has failed, all that have not ended are
// cancelled.
static bool ends_whole(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status) {
  if (status == MFI_CANCELLED)
    return mfi_job_is_cancelled(self, mfi_job_at(self, job));
  return load_acquire(&mfi_core_of(core)->state) == MFI_POOL_TERMINATED;
}

// Its cell is charged, the others are there for whoever has joined or comes.
static void bury_in_cells(mfi_self *self, mfi_object *core, mfi_ref job, uint32_t slot,
                          const mfi_death *death) {
  mfi_slot *dead = mfi_slot_at(self, slot);
  mfi_status status = cause(dead, job, death);
  bool whole = ends_whole(self, core, job, status);
  mfi_cells_charge(self, job, slot, status, whole ? NULL : death);
  if (mfi_cells_tally(mfi_job_at(self, job)).failed != 0)
    mfi_cells_tell_failure(self, core, job);
  mfi_lock_take(self, &core->lock);
  mfi_ending e = mfi_cells_leave(self, core, job, dead);
  mfi_lock_give(self, &core->lock);
  mfi_job_tell(self, core, &e);
}

static void bury_one(mfi_self *self, uint32_t slot, const mfi_death *death) {
  mfi_slot *dead = mfi_slot_at(self, slot);
  mfi_ref job = dead->job;
  mfi_object *core = mfi_object_of(self, mfi_job_at(self, job)->counted.home);
  mfi_status status = cause(dead, job, death);
  mfi_ending e;
  if (mfi_job_at(self, job)->cells != 0) {
    bury_in_cells(self, core, job, slot, death);
    return;
  }
  mfi_job_settle(self, job);
  if (!ends_whole(self, core, job, status))
    mfi_job_charge(self, job, status, death);
  mfi_lock_take(self, &core->lock);
  bool ended = settle(self, core, job, dead, status, &e);
  mfi_lock_give(self, &core->lock);
  if (ended)
    mfi_job_tell(self, core, &e);
  else
    mfi_event_wake_one(self, &mfi_core_of(core)->work);
}

void mfi_pool_bury_job(mfi_self *self, uint32_t slot, const mfi_death *death) {
  while (mfi_slot_at(self, slot)->job != 0)
    bury_one(self, slot, death); // the inmost first
}

// ---- Closing

// To the host, once for each pool: that it is none any more.
static void tell_end(mfi_self *self, const mfi_core *c, uint32_t state) {
  if (state == MFI_POOL_BROKEN)
    mfi_runtime_logf(self, MFI_LOG_WARNING, "%s has ended: its workers do not start", c->name);
  else
    mfi_runtime_logf(self, MFI_LOG_INFO, "%s is %s", c->name,
                     state == MFI_POOL_CLOSING ? "closed" : "terminated");
}

static bool change_state(mfi_self *self, mfi_object *core, uint32_t state) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  uint32_t before = c->state;
  bool news = c->state < state && c->state != MFI_POOL_TERMINATED;
  if (news) {
    mfi_event_will_wake(self, &c->work);
    mfi_change32(self, &core->lock, &c->state, state);
    mfi_change32(self, &core->lock, &c->kick, c->kick + 1);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  mfi_event_wake_all(self, &c->work);
  mfi_event_wake_all(self, &c->calm);
  if (news && before == MFI_POOL_OPEN)
    tell_end(self, c, state);
  return news;
}

void mfi_pool_close(mfi_self *self, mfi_object *core) {
  change_state(self, core, MFI_POOL_CLOSING);
}

static void end_all_queued(mfi_self *self, mfi_object *core, mfi_status why) {
  mfi_core *c = mfi_core_of(core);
  for (;;) {
    mfi_ending e;
    mfi_lock_take(self, &core->lock);
    mfi_ref job = mfi_core_first(self, c);
    if (job == 0)
      job = c->directed.first;
    if (job != 0)
      mfi_job_drop(self, core, job, why, &e);
    mfi_lock_give(self, &core->lock);
    if (job == 0)
      return;
    mfi_job_tell(self, core, &e);
  }
}

// ---- Counting

// Cells are in the core's counts as queued until their job ends.
// Under the lock, which keeps nobody from going on to the next cell while we count: whoever was
// seen at more than one has ended the others.
static void count_cells(mfi_self *self, mfi_object *core, mfi_counts *c) {
  for (mfi_ref r = mfi_core_of(core)->queue.first; r != 0; r = mfi_job_at(self, r)->next) {
    mfi_job *j = mfi_job_at(self, r);
    if (j->cells == 0 || mfi_cells_are_fresh(j))
      continue;
    mfi_tally t = mfi_cells_tally(j);
    uint32_t seen_twice = t.running > j->joined ? t.running - j->joined : 0;
    c->queued -= j->nitems - t.queued;
    c->running += t.running - seen_twice;
    c->done += t.done + seen_twice;
    c->failed += t.failed;
    c->cancelled += t.cancelled;
  }
}

mfi_counts mfi_pool_count(mfi_self *self, mfi_object *core) {
  const mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  mfi_counts n = {.workers = c->alive,
                  .submitted = c->submitted,
                  .queued = c->queued,
                  .running = c->running,
                  .done = c->done,
                  .failed = c->failed,
                  .cancelled = c->cancelled,
                  .died = c->died};
  count_cells(self, core, &n);
  mfi_lock_give(self, &core->lock);
  return n;
}

// ---- Workers

static bool is_in(mfi_self *self, uint32_t slot, mfi_handle core) {
  mfi_object *o = mfi_worker_in(self, slot);
  return o != NULL && load_acquire(&mfi_worker_of(o)->pool) == core;
}

uint32_t mfi_pool_workers(mfi_self *self, mfi_object *core, uint64_t *ids, uint32_t max) {
  mfi_handle h = mfi_object_handle(self, core);
  uint64_t top = load_acquire(&self->region->slots_top);
  uint32_t n = 0;
  for (uint32_t i = 1; i < top; i++) {
    mfi_slot *s = mfi_slot_at(self, i);
    uint64_t id = mfi_slot_id(self, i); // first: of the one that is looked at, or of nobody
    if (!is_in(self, i, h) || load_acquire(&s->used) == 0 || load_acquire(&s->left) != 0)
      continue;
    if (n < max)
      ids[n] = id;
    n++;
  }
  return n;
}

uint32_t mfi_pool_idle(mfi_self *self, mfi_object *core) {
  uint64_t ids[256];
  uint32_t n = mfi_pool_workers(self, core, ids, 256), idle = 0;
  for (uint32_t i = 0; i < n && i < 256; i++)
    idle += load_acquire(&mfi_slot_at(self, (uint32_t)ids[i])->job) == 0;
  return idle;
}

uint32_t mfi_pool_fresh(mfi_self *self, mfi_object *core) {
  uint64_t ids[256];
  uint32_t n = mfi_pool_workers(self, core, ids, 256), fresh = 0;
  for (uint32_t i = 0; i < n && i < 256; i++) {
    mfi_object *o = mfi_worker_in(self, (uint32_t)ids[i]);
    fresh += o != NULL &&
             load_relaxed(&mfi_worker_of(o)->epoch) == load_relaxed(&mfi_core_of(core)->epoch);
  }
  return fresh;
}

static void stop_workers(mfi_self *self, mfi_object *core) {
  mfi_core *c = mfi_core_of(core);
  uint64_t top = load_acquire(&self->region->slots_top);
  mfi_handle h = mfi_object_handle(self, core);
  for (uint32_t i = 1; i < top; i++) {
    uint64_t id = mfi_slot_id(self, i); // first: its next user is not to be stopped
    if (is_in(self, i, h))
      mfi_slot_stop(self, id, c->backend, MFI_TERMINATED, 0, MFI_END_TASK);
  }
}

void mfi_pool_terminate(mfi_self *self, mfi_object *core, mfi_status why) {
  change_state(self, core, MFI_POOL_TERMINATED);
  end_all_queued(self, core, why);
  stop_workers(self, core);
}

void mfi_pool_break(mfi_self *self, mfi_object *core, const mfi_source *failure) {
  mfi_core *c = mfi_core_of(core);
  mfi_ref block = 0;
  if (failure != NULL && mfi_message_make(self, failure, &block) == MFI_OK)
    mfi_hand_raise(self, block);
  mfi_lock_take(self, &core->lock);
  bool first = block != 0 && c->failure == 0;
  if (first) {
    mfi_change64(self, &core->lock, &c->failure, block);
    mfi_hand_out(self, &core->lock, block);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  if (block != 0 && !first)
    mfi_message_free(self, block);
  change_state(self, core, MFI_POOL_BROKEN);
  end_all_queued(self, core, MFI_INITIALIZER);
}

mfi_status mfi_pool_resize(mfi_self *self, mfi_object *core, uint32_t workers) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  bool open = c->state == MFI_POOL_OPEN;
  if (open) {
    mfi_event_will_wake(self, &c->work);
    mfi_change32(self, &core->lock, &c->want, workers);
    mfi_change32(self, &core->lock, &c->kick, c->kick + 1);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  mfi_event_wake_all(self, &c->work);
  mfi_pool_heal(self, core);
  return open ? MFI_OK : MFI_CLOSED;
}

void mfi_pool_restart(mfi_self *self, mfi_object *core) {
  mfi_core *c = mfi_core_of(core);
  mfi_lock_take(self, &core->lock);
  mfi_event_will_wake(self, &c->work);
  mfi_change32(self, &core->lock, &c->epoch, c->epoch + 1);
  mfi_change32(self, &core->lock, &c->kick, c->kick + 1);
  mfi_lock_commit(self, &core->lock);
  mfi_lock_give(self, &core->lock);
  mfi_event_wake_all(self, &c->work);
}

// ---- Waiting

static bool is_calm(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  mfi_core *c = what;
  return load_seqcst(&c->queued) == 0 && load_seqcst(&c->running) == 0;
}

static bool is_gone(mfi_self *self, void *what) {
  return is_calm(self, what) && load_seqcst(&((mfi_core *)what)->present) == 0;
}

mfi_status mfi_pool_wait(mfi_self *self, mfi_object *core, bool gone, mfi_ns until) {
  mfi_core *c = mfi_core_of(core);
  mfi_event_say(self, MFI_HOW_CALM, mfi_object_handle(self, core));
  mfi_status st = mfi_event_await(self, &c->calm, gone ? is_gone : is_calm, c, until);
  mfi_event_done(self);
  return st;
}

// ---- Kinds

static void destroy_pool(mfi_self *self, void *body) {
  mfi_pool *p = body;
  mfi_object *core = p->core == 0 ? NULL : mfi_object_of(self, p->core);
  if (core == NULL)
    return;
  mfi_pool_terminate(self, core, MFI_TERMINATED);
  mfi_handle_unhold(self, &p->core);
}

static void end_message(mfi_self *self, mfi_ref *word) {
  mfi_ref block = mfi_hand_pull(self, word);
  if (block != 0)
    mfi_message_free(self, block);
}

static void destroy_core(mfi_self *self, void *body) {
  mfi_core *c = body;
  end_message(self, &c->spec);
  end_message(self, &c->failure);
  while (c->calls.first != 0)
    mfi_pool_forget(self, c);
}

const mfi_object_ops mfi_pool_ops = {"Pool", destroy_pool, mfi_pool_abandon, NULL};
const mfi_object_ops mfi_core_ops = {"Core", destroy_core, NULL, NULL};
