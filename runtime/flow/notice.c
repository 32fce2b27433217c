// Who is told of ends, and how: watched jobs and batches. Floor 4; see pool.h. Locks: the core's,
// then slots'.
//
//   a job's end --[one record]--> slot->ending --[mfi_job_tell_watcher]--> the watcher's due list
//   a batch's news --[one record]--> slot->tell --[mfi_slot_tell]--> the watcher's `look`
//
// Both words are the ending worker's own, and its burial goes on from there. A watcher that is told
// twice to look looks once more than it had to.
#include "base/assert.h"
#include "base/atomic.h"
#include "flow/pool_queue.h"

mfi_status mfi_job_watch(mfi_self *self, mfi_object *core, mfi_ref job, uint32_t depth) {
  mfi_job *j = mfi_job_at(self, job);
  uint64_t me = mfi_slot_id(self, self->index);
  mfi_status st = MFI_OK;
  mfi_lock_take(self, &core->lock);
  if (j->state == MFI_JOB_ENDED) {
    st = MFI_CLOSED;
  } else if (j->watcher != 0 && j->watcher != me && mfi_slot_is(self, j->watcher)) {
    store_release(&self->slot->curious, 1u);
    mfi_change32(self, &core->lock, &j->others, 1);
    mfi_lock_commit(self, &core->lock);
    st = MFI_FULL;
  } else if (j->watcher != me) {
    mfi_change32(self, &core->lock, &j->counted.refs, j->counted.refs + (j->watcher == 0));
    mfi_change64(self, &core->lock, &j->watcher, me);
    mfi_change32(self, &core->lock, &j->watch_depth, depth);
    mfi_lock_commit(self, &core->lock);
  }
  mfi_lock_give(self, &core->lock);
  return st;
}

mfi_status mfi_batch_watch(mfi_self *self, mfi_object *batch) {
  mfi_batch *b = mfi_batch_of(batch);
  mfi_object *core = mfi_object_of(self, b->core);
  mfi_lock_take(self, &core->lock);
  bool over = b->left == 0 || (b->stop_on_error && b->failed != 0);
  mfi_change64(self, &core->lock, &b->watcher, mfi_slot_id(self, self->index));
  mfi_lock_commit(self, &core->lock);
  mfi_lock_give(self, &core->lock);
  return over ? MFI_CLOSED : MFI_OK;
}

// ---- Telling

// Under s->lock: the job in self's slot->ending becomes the newest of the due list.
static void push_due(mfi_self *self, mfi_slot *s) {
  mfi_ref job = mfi_counted_ref(self, self->slot->ending);
  mfi_ref *link = s->due == 0 ? &s->due : &mfi_job_at(self, s->due_last)->due_next;
  mfi_job_at(self, job)->due_next = 0; // nobody reaches it yet
  mfi_change64(self, &s->lock, link, job);
  mfi_change64(self, &s->lock, &s->due_last, job);
  mfi_change64(self, &s->lock, &self->slot->ending, 0);
  mfi_lock_commit(self, &s->lock);
}

void mfi_job_tell_watcher(mfi_self *self) {
  uint64_t id = mfi_job_at(self, mfi_counted_ref(self, self->slot->ending))->watcher;
  mfi_slot *s = mfi_slot_at(self, (uint32_t)id);
  mfi_lock_take(self, &s->lock);
  bool there = mfi_slot_is(self, id);
  if (there) {
    push_due(self, s);
    mfi_note(self, (uint32_t)id, MFI_NOTE_DUE);
  }
  mfi_lock_give(self, &s->lock);
  if (there)
    mfi_event_wake_all(self, mfi_event_of(self, id)); // a light may show it
  else
    mfi_handle_unhold(self, &self->slot->ending);
}

static void tell_to_look(mfi_self *self, uint64_t id) {
  mfi_slot *s = mfi_slot_at(self, (uint32_t)id);
  mfi_lock_take(self, &s->lock);
  bool there = mfi_slot_is(self, id);
  if (there) {
    store_seqcst(&s->look, UINT32_MAX);
    mfi_note(self, (uint32_t)id, MFI_NOTE_DUE);
  }
  mfi_lock_give(self, &s->lock);
  if (there)
    mfi_event_wake_all(self, mfi_event_of(self, id));
}

void mfi_slot_tell(mfi_self *self, mfi_slot *slot) {
  uint64_t id = slot->tell, top = load_acquire(&self->region->slots_top);
  if (id != MFI_TELL_ALL)
    tell_to_look(self, id);
  for (uint32_t i = 1; id == MFI_TELL_ALL && i < top; i++)
    if (load_acquire(&mfi_slot_at(self, i)->curious) != 0)
      tell_to_look(self, mfi_slot_id(self, i));
  store_release(&slot->tell, (uint64_t)0);
}

// ---- Taking

#define ANY_DEPTH UINT32_MAX

static bool is_of(mfi_self *self, mfi_ref job, uint32_t depth) {
  return depth == ANY_DEPTH || mfi_job_at(self, job)->watch_depth == depth;
}

// Under s->lock: the oldest of its due list, its reference goes to self's slot->ending.
static mfi_handle pop_due(mfi_self *self, mfi_slot *s, uint32_t depth) {
  mfi_handle h = 0;
  mfi_lock_take(self, &s->lock);
  mfi_ref before = 0, job = s->due;
  while (job != 0 && !is_of(self, job, depth)) {
    before = job;
    job = mfi_job_at(self, job)->due_next;
  }
  if (job != 0) {
    mfi_ref next = mfi_job_at(self, job)->due_next;
    mfi_ref *link = before == 0 ? &s->due : &mfi_job_at(self, before)->due_next;
    h = mfi_counted_handle(self, job);
    mfi_change64(self, &s->lock, &self->slot->ending, h);
    mfi_change64(self, &s->lock, link, next);
    if (next == 0)
      mfi_change64(self, &s->lock, &s->due_last, before);
    mfi_lock_commit(self, &s->lock);
  }
  mfi_lock_give(self, &s->lock);
  return h;
}

mfi_handle mfi_pool_due(mfi_self *self, uint32_t depth) {
  mfi_assert(self->slot->ending == 0);
  return pop_due(self, self->slot, depth);
}

void mfi_pool_not_due(mfi_self *self) {
  mfi_lock_take(self, &self->slot->lock);
  push_due(self, self->slot);
  mfi_lock_give(self, &self->slot->lock);
}

void mfi_pool_bury_due(mfi_self *self, mfi_slot *dead) {
  if (dead->ending != 0 && dead != self->slot) {
    mfi_lock_take(self, &dead->lock);
    mfi_change64(self, &dead->lock, &self->slot->ending, dead->ending);
    mfi_change64(self, &dead->lock, &dead->ending, 0);
    mfi_lock_commit(self, &dead->lock);
    mfi_lock_give(self, &dead->lock);
    mfi_job_tell_watcher(self);
  }
  if (dead->tell != 0)
    mfi_slot_tell(self, dead);
  while (pop_due(self, dead, ANY_DEPTH) != 0)
    mfi_handle_unhold(self, &self->slot->ending);
}
