// Batches: the jobs of one map-like call, together. Floor 4; see pool.h. Locks: the core's. Sleeps
// in the two waits.
#include "base/assert.h"
#include "base/atomic.h"
#include "flow/cells.h"
#include "flow/pool_queue.h"

_Static_assert(sizeof(mfi_batch) <= MFI_OBJECT_BODY, "a batch fits its object");

static mfi_object *core_of(mfi_self *self, mfi_object *batch) {
  return mfi_object_of(self, mfi_batch_of(batch)->core);
}

// Words that nobody else reaches yet.
static mfi_status fill(mfi_self *self, mfi_batch *b, mfi_handle core, const mfi_batch_config *c) {
  b->serial = fetch_add_relaxed(&self->region->next_id, (uint64_t)1);
  b->unordered = c->unordered;
  b->stop_on_error = c->stop_on_error;
  b->wake_each = c->wake_each;
  mfi_status st = mfi_handle_hold(self, core, &b->core);
  if (st != MFI_OK)
    return st;
  mfi_ref image;
  st = mfi_message_make(self, &c->image, &image);
  if (st != MFI_OK)
    return st;
  mfi_hand_raise(self, image);
  mfi_lock *lock = &self->slot->lock;
  mfi_lock_take(self, lock);
  mfi_change64(self, lock, &b->image, image);
  mfi_hand_out(self, lock, image);
  mfi_lock_commit(self, lock);
  mfi_lock_give(self, lock);
  return MFI_OK;
}

mfi_status mfi_batch_make(mfi_self *self, mfi_handle core, const mfi_batch_config *c,
                          mfi_handle *out, uint32_t *place) {
  mfi_handle h = mfi_object_make(self, MFI_KIND_BATCH, place);
  if (h == 0)
    return MFI_NOMEM;
  mfi_status st = fill(self, mfi_batch_of(mfi_object_of(self, h)), core, c);
  if (st != MFI_OK)
    mfi_handle_drop(self, *place);
  *out = h;
  return st;
}

// ---- Waiting

static bool is_over(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  mfi_batch *b = what;
  return load_seqcst(&b->left) == 0 || (b->stop_on_error && load_acquire(&b->failed) != 0);
}

mfi_status mfi_batch_wait(mfi_self *self, mfi_object *batch, mfi_ns until) {
  mfi_event *e = mfi_event_of(self, mfi_object_handle(self, batch));
  mfi_event_say(self, MFI_HOW_BATCH, mfi_object_handle(self, batch));
  mfi_status st = mfi_event_await(self, e, is_over, mfi_batch_of(batch), until);
  mfi_event_done(self);
  return st;
}

// Only the batch's holder takes jobs, so the oldest stays; an unordered one's list only grows.
static bool has_next(mfi_self *self, void *what) {
  mfi_batch *b = what;
  if (b->unordered)
    return load_seqcst(&b->done_first) != 0;
  mfi_ref oldest = load_acquire(&b->oldest);
  return oldest != 0 && load_seqcst(&mfi_job_at(self, oldest)->state) == MFI_JOB_ENDED;
}

bool mfi_batch_is_ready(mfi_self *self, void *body) {
  return has_next(self, body) || is_over(self, body);
}

mfi_status mfi_batch_wait_next(mfi_self *self, mfi_object *batch, mfi_ns until) {
  mfi_batch *b = mfi_batch_of(batch);
  if (load_acquire(&b->oldest) == 0)
    return MFI_CLOSED;
  mfi_event *e = mfi_event_of(self, mfi_object_handle(self, batch));
  mfi_event_say(self, MFI_HOW_BATCH, mfi_object_handle(self, batch));
  mfi_status st = mfi_event_await(self, e, has_next, b, until);
  mfi_event_done(self);
  return st;
}

// ---- Taking

// The job leaves the batch's list, and gives up the batch's reference. At most 4 pairs.
static void change_unlinked(mfi_self *self, mfi_object *core, mfi_batch *b, mfi_job *j) {
  mfi_ref *before = j->older == 0 ? &b->oldest : &mfi_job_at(self, j->older)->younger;
  mfi_ref *behind = j->younger == 0 ? &b->newest : &mfi_job_at(self, j->younger)->older;
  mfi_change64(self, &core->lock, before, j->younger);
  mfi_change64(self, &core->lock, behind, j->older);
  mfi_change64(self, &core->lock, &j->batch, 0);
  mfi_change32(self, &core->lock, &j->counted.refs, j->counted.refs - 1);
}

// Under the lock. The unordered list's head goes too: its job is the one taken.
static void change_taken(mfi_self *self, mfi_object *core, mfi_batch *b, mfi_ref job) {
  mfi_job *j = mfi_job_at(self, job);
  change_unlinked(self, core, b, j);
  if (b->unordered) {
    mfi_change64(self, &core->lock, &b->done_first, j->done_next);
    if (j->done_next == 0)
      mfi_change64(self, &core->lock, &b->done_last, 0);
  }
  if (j->counted.refs == 1)
    mfi_hand_in(self, &core->lock, job);
  mfi_lock_commit(self, &core->lock);
}

static mfi_ref next_taken(mfi_self *self, const mfi_batch *b) {
  mfi_ref job = b->unordered ? b->done_first : b->oldest;
  return job != 0 && mfi_job_at(self, job)->state == MFI_JOB_ENDED ? job : 0;
}

uint32_t mfi_batch_take(mfi_self *self, mfi_object *batch, mfi_ref *out, uint32_t max) {
  mfi_object *core = core_of(self, batch);
  mfi_batch *b = mfi_batch_of(batch);
  uint32_t n = 0;
  mfi_lock_take(self, &core->lock);
  for (mfi_ref job; n < max && (job = next_taken(self, b)) != 0;) {
    change_taken(self, core, b, job);
    out[n++] = job;
  }
  mfi_lock_give(self, &core->lock);
  return n;
}

// ---- Cancelling and ending

static void stop_running(mfi_self *self, mfi_object *core, mfi_batch *b, mfi_status why) {
  for (mfi_ref ref = b->oldest; ref != 0; ref = mfi_job_at(self, ref)->younger) {
    mfi_job *j = mfi_job_at(self, ref);
    if (j->state != MFI_JOB_RUNNING && j->joined == 0)
      continue;
    store_release(&j->cancel, 1u);
    if (j->cells != 0)
      mfi_cells_stop(self, core, ref, why);
    else
      mfi_slot_stop(self, j->taker, mfi_core_of(core)->backend, why, ref, MFI_END_TASK);
  }
}

void mfi_batch_cancel(mfi_self *self, mfi_object *batch, bool force, mfi_status why) {
  mfi_object *core = core_of(self, batch);
  mfi_batch *b = mfi_batch_of(batch);
  mfi_lock_take(self, &core->lock);
  mfi_change32(self, &core->lock, &b->cancel, 1);
  mfi_lock_commit(self, &core->lock);
  if (force)
    stop_running(self, core, b, why);
  mfi_lock_give(self, &core->lock);
}

// The oldest job leaves: a queued one is taken out, a running one goes on for nobody.
static bool let_go(mfi_self *self, mfi_object *core, mfi_batch *b) {
  mfi_ending e = {0};
  bool finished = false;
  mfi_lock_take(self, &core->lock);
  mfi_ref job = b->oldest;
  mfi_job *j = job == 0 ? NULL : mfi_job_at(self, job);
  if (job != 0 && j->state == MFI_JOB_QUEUED)
    finished = mfi_job_drop(self, core, job, MFI_CANCELLED, &e);
  if (job != 0) {
    if (j->state == MFI_JOB_RUNNING)
      store_release(&j->cancel, 1u);
    bool last = j->counted.refs == 1;
    change_unlinked(self, core, b, j);
    if (last)
      mfi_hand_in(self, &core->lock, job);
    mfi_lock_commit(self, &core->lock);
    e.in_hand = last;
    e.job = job;
  }
  mfi_lock_give(self, &core->lock);
  if (finished)
    mfi_job_tell(self, core, &e);
  else if (e.in_hand)
    mfi_job_discard(self, job);
  return job != 0;
}

static void destroy(mfi_self *self, void *body) {
  mfi_batch *b = body;
  mfi_object *core = b->core == 0 ? NULL : mfi_object_of(self, b->core);
  while (core != NULL && let_go(self, core, b))
    continue;
  mfi_ref image = mfi_hand_pull(self, &b->image);
  if (image != 0)
    mfi_message_free(self, image);
  if (b->core != 0)
    mfi_handle_unhold(self, &b->core);
}

const mfi_object_ops mfi_batch_ops = {"Batch", destroy, NULL, NULL};
