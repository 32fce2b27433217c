// Pools: the way of a job through its core. Floor 4; see pool.h. Locks: the core's. Sleeps in take
// and in mfi_job_wait. How pools and their workers come and go is in pool_life.c.
#include "flow/pool.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "flow/cells.h"
#include "flow/pool_queue.h"
#include "mem/handles.h"

_Static_assert(sizeof(mfi_core) <= MFI_OBJECT_BODY, "a core fits its object");
_Static_assert(sizeof(mfi_worker) <= MFI_OBJECT_BODY, "a worker fits its object");

// ---- The queue

// Only jobs that anybody may take are counted.
static void change_jobs(mfi_self *self, mfi_object *core, const mfi_list *list, uint64_t by) {
  mfi_core *c = mfi_core_of(core);
  if (list == &c->queue)
    mfi_change64(self, &core->lock, &c->jobs, c->jobs + by);
}

void mfi_core_push_back(mfi_self *self, mfi_object *core, mfi_list *list, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  j->next = 0; // not reachable yet
  j->prev = list->last;
  mfi_ref *link = list->last == 0 ? &list->first : &mfi_job_at(self, list->last)->next;
  mfi_change64(self, &core->lock, link, job);
  mfi_change64(self, &core->lock, &list->last, job);
  change_jobs(self, core, list, 1);
}

void mfi_core_push_front(mfi_self *self, mfi_object *core, mfi_list *list, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  j->prev = 0; // a running job is in no list
  j->next = list->first;
  mfi_ref *link = list->first == 0 ? &list->last : &mfi_job_at(self, list->first)->prev;
  mfi_change64(self, &core->lock, link, job);
  mfi_change64(self, &core->lock, &list->first, job);
  change_jobs(self, core, list, 1);
}

void mfi_core_unlink(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_core *c = mfi_core_of(core);
  mfi_job *j = mfi_job_at(self, job);
  mfi_list *list = j->directed ? &c->directed : &c->queue;
  mfi_ref *before = j->prev == 0 ? &list->first : &mfi_job_at(self, j->prev)->next;
  mfi_ref *behind = j->next == 0 ? &list->last : &mfi_job_at(self, j->next)->prev;
  mfi_change64(self, &core->lock, before, j->next);
  mfi_change64(self, &core->lock, behind, j->prev);
  if (j->state == MFI_JOB_QUEUED)
    change_jobs(self, core, list, UINT64_MAX);
}

mfi_ref mfi_core_first(mfi_self *self, mfi_core *c) {
  mfi_ref r = c->queue.first;
  while (r != 0 && mfi_job_at(self, r)->state != MFI_JOB_QUEUED)
    r = mfi_job_at(self, r)->next;
  return r;
}

// ---- Submitting

static mfi_status refusal(const mfi_core *c) {
  static const mfi_status why[] = {
      [MFI_POOL_OPEN] = MFI_OK,
      [MFI_POOL_CLOSING] = MFI_CLOSED,
      [MFI_POOL_TERMINATED] = MFI_CLOSED,
      [MFI_POOL_BROKEN] = MFI_INITIALIZER,
  };
  return why[c->state];
}

static void join_batch(mfi_self *self, mfi_object *core, mfi_object *batch, mfi_ref job) {
  mfi_batch *b = mfi_batch_of(batch);
  mfi_job *j = mfi_job_at(self, job);
  j->older = b->newest;
  mfi_ref *link = b->newest == 0 ? &b->oldest : &mfi_job_at(self, b->newest)->younger;
  mfi_change64(self, &core->lock, link, job);
  mfi_change64(self, &core->lock, &b->newest, job);
  mfi_change64(self, &core->lock, &b->left, b->left + 1);
}

static mfi_status submit(mfi_self *self, mfi_object *core, mfi_ref job, mfi_object *batch,
                         const uint32_t *place) {
  mfi_core *c = mfi_core_of(core);
  mfi_job *j = mfi_job_at(self, job);
  mfi_status st = refusal(c);
  if (st != MFI_OK)
    return st;
  j->counted.refs = 2; // the pool's, and the batch's or the Future's
  j->state = MFI_JOB_QUEUED;
  j->batch = batch == NULL ? 0 : mfi_object_handle(self, batch);
  j->number = batch == NULL ? 0 : mfi_batch_of(batch)->serial;
  if (batch != NULL)
    join_batch(self, core, batch, job);
  else
    mfi_place_changes(self, &core->lock, *place, mfi_counted_handle(self, job));
  mfi_core_push_back(self, core, j->directed ? &c->directed : &c->queue, job);
  if (j->directed)
    mfi_change32(self, &core->lock, &c->kick, c->kick + 1);
  mfi_change64(self, &core->lock, &j->counted.home, mfi_object_handle(self, core));
  if (batch == NULL) // a batch holds the core for all its jobs
    mfi_change32(self, &core->lock, &core->refs, core->refs + 1);
  mfi_change64(self, &core->lock, &c->submitted, c->submitted + j->nitems);
  mfi_change64(self, &core->lock, &c->queued, c->queued + j->nitems);
  mfi_hand_out(self, &core->lock, job);
  mfi_event_will_wake(self, &c->work);
  mfi_lock_commit(self, &core->lock);
  return MFI_OK;
}

// When all workers sleep inside tasks, a spare one takes what is queued.
static void heal_if_asleep(mfi_self *self, mfi_object *core) {
  mfi_core *c = mfi_core_of(core);
  uint32_t asleep = load_acquire(&c->asleep);
  if (asleep != 0 && asleep >= load_acquire(&c->alive))
    mfi_pool_heal(self, core);
}

// After jobs were queued. Who falls asleep looks at the queue behind that, so that one of the two
// sees the other.
static void wake_or_heal(mfi_self *self, mfi_object *core, bool one) {
  mfi_core *c = mfi_core_of(core);
  MFI_FAULT(&self->region->faults, MFI_FAULT_SUBMITTED);
  if (one)
    mfi_event_wake_one(self, &c->work);
  else
    mfi_event_wake_all(self, &c->work);
  heal_if_asleep(self, core);
}

void mfi_pool_abandon(mfi_self *self, mfi_held *entry, uint64_t id) {
  if (id == mfi_slot_id(self, self->index))
    return; // an orderly end, which is no place to make workers
  mfi_object *core = mfi_pool_core(self, entry->handle);
  if (core != NULL)
    heal_if_asleep(self, core);
}

mfi_status mfi_pool_submit(mfi_self *self, mfi_object *core, mfi_ref job, mfi_object *batch,
                           uint32_t *place) {
  if (batch == NULL && mfi_place_reserve(self, place) != MFI_OK)
    return MFI_NOMEM;
  mfi_hand_raise(self, job);
  mfi_lock_take(self, &core->lock);
  mfi_status st = submit(self, core, job, batch, place);
  mfi_lock_give(self, &core->lock);
  if (st == MFI_OK)
    wake_or_heal(self, core, true);
  else if (batch == NULL)
    mfi_place_release(self, *place);
  return st;
}

mfi_status mfi_pool_submit_many(mfi_self *self, mfi_object *core, const mfi_ref *jobs, uint32_t n,
                                mfi_object *batch, uint32_t *done) {
  mfi_status st = MFI_OK;
  *done = 0;
  mfi_lock_take(self, &core->lock);
  while (*done < n && (st = submit(self, core, jobs[*done], batch, NULL)) == MFI_OK)
    ++*done;
  mfi_lock_give(self, &core->lock);
  if (*done > 0)
    wake_or_heal(self, core, *done == 1 && mfi_job_at(self, jobs[0])->cells == 0);
  return st;
}

mfi_status mfi_pool_direct(mfi_self *self, mfi_object *core, mfi_ref job, mfi_object *batch,
                           uint64_t slot) {
  mfi_job_at(self, job)->directed = 1;
  mfi_job_at(self, job)->taker = slot;
  mfi_status st = mfi_pool_submit(self, core, job, batch, NULL);
  if (st == MFI_OK)
    mfi_event_wake_all(self, &mfi_core_of(core)->work);
  return st;
}

// ---- Taking

static void change_running(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_core *c = mfi_core_of(core);
  mfi_job *j = mfi_job_at(self, job);
  uint32_t left = mfi_job_left(j);
  j->outer = self->slot->job;
  mfi_change32(self, &core->lock, &j->state, MFI_JOB_RUNNING);
  mfi_change64(self, &core->lock, &j->taker, mfi_slot_id(self, self->index));
  mfi_change64(self, &core->lock, &self->slot->job, job);
  mfi_change64(self, &core->lock, &c->queued, c->queued - left);
  mfi_change64(self, &core->lock, &c->running, c->running + left);
  mfi_lock_commit(self, &core->lock);
}

// The oldest job for anybody. Of one batch each worker goes to cells of its own while there are
// some; then they help each other.
static mfi_ref next_for_all(mfi_self *self, mfi_core *c) {
  mfi_ref first = mfi_core_first(self, c);
  for (mfi_ref r = first; r != 0; r = mfi_job_at(self, r)->next) {
    mfi_job *j = mfi_job_at(self, r);
    if (j->batch != mfi_job_at(self, first)->batch)
      return first;
    if (j->state == MFI_JOB_QUEUED && j->joined == 0)
      return r;
  }
  return first;
}

// The oldest job for anybody, or one for this worker alone.
static mfi_ref next_job(mfi_self *self, mfi_core *c) {
  uint64_t me = mfi_slot_id(self, self->index);
  for (mfi_ref r = c->directed.first; r != 0; r = mfi_job_at(self, r)->next)
    if (mfi_job_at(self, r)->taker == me)
      return r;
  return next_for_all(self, c);
}

// False: cells that the caller cannot have.
static bool begin(mfi_self *self, mfi_object *core, mfi_ref job) {
  if (mfi_job_at(self, job)->cells == 0) {
    mfi_core_unlink(self, core, job);
    change_running(self, core, job);
    return true;
  }
  if (!mfi_cells_may_join(self, job))
    return false;
  mfi_cells_join(self, core, job);
  return true;
}

// Under the lock. A job whose batch was cancelled is not begun: it ends here.
static mfi_status take(mfi_self *self, mfi_object *core, mfi_ref *out, bool *dropped) {
  mfi_core *c = mfi_core_of(core);
  *dropped = false;
  if (c->state == MFI_POOL_TERMINATED || c->state == MFI_POOL_BROKEN)
    return MFI_CLOSED;
  for (;;) {
    mfi_ref job = *out = next_job(self, c);
    if (job == 0)
      return c->state == MFI_POOL_CLOSING ? MFI_CLOSED : MFI_EMPTY;
    *dropped = mfi_job_is_cancelled(self, mfi_job_at(self, job));
    if (*dropped || begin(self, core, job))
      return MFI_OK;
    if (!mfi_cells_through(self, core, job)) // else who claimed the last of them died
      return MFI_EMPTY;
  }
}

mfi_status mfi_pool_try(mfi_self *self, mfi_object *core, mfi_ref *out) {
  for (;;) {
    bool dropped;
    mfi_ending e;
    mfi_lock_take(self, &core->lock);
    mfi_status st = take(self, core, out, &dropped);
    if (dropped)
      mfi_job_drop(self, core, *out, MFI_CANCELLED, &e);
    mfi_lock_give(self, &core->lock);
    if (!dropped)
      return st;
    mfi_job_tell(self, core, &e);
  }
}

typedef struct look {
  mfi_core *core;
  uint32_t kick;
} look;

static bool has_work(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  look *l = what;
  return load_seqcst(&l->core->jobs) != 0 || load_acquire(&l->core->kick) != l->kick;
}

mfi_status mfi_pool_take(mfi_self *self, mfi_object *core, uint32_t kick, mfi_ns until,
                         mfi_ref *out) {
  look l = {mfi_core_of(core), kick};
  mfi_status st;
  for (;;) {
    MFI_FAULT(&self->region->faults, MFI_FAULT_BEFORE_PICKUP);
    st = mfi_pool_try(self, core, out);
    if (st != MFI_EMPTY)
      break;
    st = MFI_TIMEDOUT;
    if (load_acquire(&l.core->kick) != kick)
      break;
    mfi_event_say(self, MFI_HOW_IDLE, 0);
    st = mfi_event_await(self, &l.core->work, has_work, &l, until);
    if (st != MFI_OK)
      break;
  }
  mfi_event_done(self);
  if (st == MFI_OK)
    MFI_FAULT(&self->region->faults, MFI_FAULT_PICKED_UP);
  return st;
}

bool mfi_pool_take_this(mfi_self *self, mfi_object *core, mfi_ref job) {
  mfi_lock_take(self, &core->lock);
  bool queued = mfi_job_at(self, job)->state == MFI_JOB_QUEUED;
  bool begun = queued && begin(self, core, job);
  mfi_lock_give(self, &core->lock);
  return begun;
}

// ---- Ending

// What an end does to the job's batch, at most 6 pairs. Is its waiter to be woken?
static bool change_batch(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_batch *b = mfi_batch_of(mfi_object_entry(self, j->batch)); // it may be on its way out
  bool failed = j->failed != 0 || (status != MFI_OK && status != MFI_CANCELLED);
  mfi_change64(self, &core->lock, &b->left, b->left - 1);
  mfi_change32(self, &core->lock, &b->ends, b->ends + 1);
  if (b->unordered) {
    mfi_ref *link = b->done_last == 0 ? &b->done_first : &mfi_job_at(self, b->done_last)->done_next;
    mfi_change64(self, &core->lock, link, job);
    mfi_change64(self, &core->lock, &b->done_last, job);
  }
  if (failed && b->failed == 0) {
    mfi_change32(self, &core->lock, &b->failed, 1);
    if (b->stop_on_error)
      mfi_change32(self, &core->lock, &b->cancel, 1);
  }
  return b->wake_each || b->left == 1 || failed;
}

// The same for cells, of which the core was told nothing yet. At most 4 pairs.
static void change_cells_counts(mfi_self *self, mfi_object *core, mfi_job *j) {
  mfi_core *c = mfi_core_of(core);
  mfi_tally t = mfi_cells_tally(j);
  j->failed = t.failed; // nobody else is at it
  mfi_change64(self, &core->lock, &c->queued, c->queued - j->nitems);
  mfi_change64(self, &core->lock, &c->done, c->done + t.done);
  if (t.failed != 0)
    mfi_change64(self, &core->lock, &c->failed, c->failed + t.failed);
  if (t.cancelled != 0)
    mfi_change64(self, &core->lock, &c->cancelled, c->cancelled + t.cancelled);
}

// Tasks that ended since the core was told, and those that never will begin.
static void change_counts(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status) {
  mfi_core *c = mfi_core_of(core);
  mfi_job *j = mfi_job_at(self, job);
  uint32_t ended = mfi_job_ended(j) - j->counted_ended, failed = j->failed - j->counted_failed;
  uint32_t left = mfi_job_left(j);
  bool stopped = status == MFI_CANCELLED || status == MFI_TERMINATED;
  uint64_t *was = j->state == MFI_JOB_RUNNING ? &c->running : &c->queued;
  mfi_change64(self, &core->lock, was, *was - left - (was == &c->running ? ended : 0));
  mfi_change64(self, &core->lock, &c->done, c->done + ended - failed);
  if (failed != 0 || (left != 0 && !stopped))
    mfi_change64(self, &core->lock, &c->failed, c->failed + failed + (stopped ? 0 : left));
  if (left != 0 && stopped)
    mfi_change64(self, &core->lock, &c->cancelled, c->cancelled + left);
}

mfi_ending mfi_job_finish(mfi_self *self, mfi_object *core, mfi_ref job, mfi_slot *owner,
                          mfi_status status) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_ending e = {.job = job, .told = j->watcher != 0, .wake = true, .key = job};
  uint32_t refs = j->counted.refs - 1; // the pool's; a watch's goes to `ending`
  e.in_hand = refs == 0;
  if (j->state == MFI_JOB_QUEUED || j->cells != 0)
    mfi_core_unlink(self, core, job);
  if (j->cells != 0)
    change_cells_counts(self, core, j);
  else
    change_counts(self, core, job, status);
  uint64_t tell = j->others != 0 ? MFI_TELL_ALL : 0;
  if (j->batch != 0) {
    e.key = j->batch;
    e.wake = change_batch(self, core, job, status);
    tell = e.wake ? mfi_batch_of(mfi_object_entry(self, j->batch))->watcher : 0;
  }
  if (e.wake)
    mfi_event_will_wake(self, mfi_event_of(self, e.key));
  mfi_change32(self, &core->lock, &j->status, status);
  mfi_change32(self, &core->lock, &j->state, MFI_JOB_ENDED);
  mfi_change32(self, &core->lock, &j->counted.refs, refs);
  if (owner != NULL && j->cells != 0)
    mfi_cells_change_left(self, core, j, owner);
  else if (owner != NULL)
    mfi_change64(self, &core->lock, &owner->job, j->outer);
  if (e.told)
    mfi_change64(self, &core->lock, &self->slot->ending, mfi_counted_handle(self, job));
  if (tell != 0)
    mfi_change64(self, &core->lock, &self->slot->tell, tell);
  if (e.in_hand)
    mfi_hand_in(self, &core->lock, job);
  mfi_lock_commit(self, &core->lock);
  return e;
}

bool mfi_job_drop(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status, mfi_ending *e) {
  mfi_job *j = mfi_job_at(self, job);
  *e = (mfi_ending){0};
  if (j->cells != 0)
    mfi_cells_close(self, job, status);
  if (j->joined != 0) {
    mfi_cells_through(self, core, job);
    return false;
  }
  *e = mfi_job_finish(self, core, job, NULL, j->cells != 0 ? mfi_cells_tally(j).rest : status);
  return true;
}

// Its worker is through with it, and leaves it.
static mfi_ending leave(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status) {
  if (mfi_job_at(self, job)->cells != 0)
    return mfi_cells_leave(self, core, job, self->slot);
  return mfi_job_finish(self, core, job, self->slot, status);
}

void mfi_job_tell(mfi_self *self, mfi_object *core, const mfi_ending *e) {
  mfi_core *c = mfi_core_of(core);
  MFI_FAULT(&self->region->faults, MFI_FAULT_JOB_ENDED);
  if (e->wake)
    mfi_event_wake_all(self, mfi_event_of(self, e->key));
  if (e->told)
    mfi_job_tell_watcher(self);
  if (self->slot->tell != 0)
    mfi_slot_tell(self, self->slot);
  if (e->in_hand)
    mfi_job_discard(self, e->job);
  if (load_seqcst(&c->calm.word) != 0)
    mfi_event_wake_all(self, &c->calm);
}

void mfi_job_end(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status) {
  mfi_lock_take(self, &core->lock);
  mfi_ending e = leave(self, core, job, status);
  mfi_lock_give(self, &core->lock);
  mfi_job_tell(self, core, &e);
}

mfi_ref mfi_job_end_and_take(mfi_self *self, mfi_object *core, mfi_ref job, mfi_status status) {
  mfi_ref next = 0;
  bool dropped;
  mfi_lock_take(self, &core->lock);
  mfi_ending e = leave(self, core, job, status);
  if (take(self, core, &next, &dropped) != MFI_OK || dropped)
    next = 0; // what is to be dropped is left to mfi_pool_take
  mfi_lock_give(self, &core->lock);
  mfi_job_tell(self, core, &e);
  if (next != 0)
    MFI_FAULT(&self->region->faults, MFI_FAULT_PICKED_UP);
  return next;
}

// ---- Cancelling and waiting

bool mfi_job_cancel(mfi_self *self, mfi_object *core, mfi_ref job, bool force, mfi_status why) {
  mfi_job *j = mfi_job_at(self, job);
  mfi_ending e;
  mfi_lock_take(self, &core->lock);
  bool queued = j->state == MFI_JOB_QUEUED, stopped = j->state == MFI_JOB_RUNNING && force;
  if (queued)
    e = mfi_job_finish(self, core, job, NULL, why);
  if (stopped) { // it cannot end while we hold the lock: the stop meets no other job
    store_release(&j->cancel, 1u);
    mfi_slot_stop(self, j->taker, mfi_core_of(core)->backend, why, job, MFI_END_TASK);
  }
  mfi_lock_give(self, &core->lock);
  if (queued)
    mfi_job_tell(self, core, &e);
  return queued || stopped;
}

static bool has_ended(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_job *)what)->state) == MFI_JOB_ENDED;
}

mfi_status mfi_job_wait(mfi_self *self, mfi_ref job, mfi_ns until) {
  mfi_event *e = mfi_event_of(self, job);
  mfi_event_say(self, MFI_HOW_FUTURE, mfi_counted_handle(self, job));
  mfi_status st = mfi_event_await(self, e, has_ended, mfi_job_at(self, job), until);
  mfi_event_done(self);
  return st;
}
