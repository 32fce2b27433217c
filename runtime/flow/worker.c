// Workers: making, waiting, stopping, results. Floor 4; see worker.h. How one comes to be is in
// start.c, how it ends in bury.c. Locks: the object's, slots'. Sleeps in join.
#include "flow/worker.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/pool.h"
#include "flow/runtime.h"
#include "flow/spec.h"
#include "flow/watch.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

mfi_status mfi_worker_make(mfi_self *self, const mfi_worker_config *c, mfi_handle *out,
                           uint32_t *place) {
  mfi_handle h = mfi_object_make(self, MFI_KIND_WORKER, place);
  if (h == 0)
    return MFI_NOMEM;
  mfi_worker *w = mfi_worker_of(mfi_object_of(self, h));
  w->backend = c->backend;
  w->daemon = c->daemon;
  w->number = c->number;
  w->memory_limit = c->memory_limit;
  snprintf(w->name, sizeof w->name, "%s", c->name);
  snprintf(w->target, sizeof w->target, "%s", c->target == NULL ? "" : c->target);
  if (c->pool != 0) {
    mfi_status st = mfi_handle_hold(self, c->pool, &w->pool);
    if (st != MFI_OK) {
      mfi_handle_drop(self, *place);
      return st;
    }
  }
  *out = h;
  return MFI_OK;
}

mfi_body *mfi_worker_payload(mfi_self *self, mfi_object *o, const void **bytes, uint64_t *size) {
  mfi_worker *w = mfi_worker_of(o);
  mfi_ref block = w->spec;
  if (block == 0)
    block = mfi_core_of(mfi_object_of(self, w->pool))->spec;
  mfi_spec *spec = mfi_spec_at(self, block);
  *bytes = (const char *)spec + spec->payload_at;
  *size = spec->payload_size;
  return mfi_message_body(self, block);
}

// ---- Waiting

static bool has_ended(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_worker *)what)->state) == MFI_WORKER_ENDED;
}

mfi_status mfi_worker_join(mfi_self *self, mfi_object *o, mfi_ns until) {
  mfi_worker *w = mfi_worker_of(o);
  mfi_event_say(self, MFI_HOW_JOIN, mfi_object_handle(self, o));
  if (w->backend == MFI_BACKEND_PROCESS)
    mfi_event_no_look(self); // the end of a process takes longer
  mfi_status st = mfi_event_await(self, &w->changed, has_ended, w, until);
  mfi_event_done(self);
  return st;
}

// ---- Stopping

// Under the slot's lock: the signal reaches this worker or nobody.
static void signal_slot(mfi_self *self, uint32_t slot, uint32_t backend, int signal_number) {
  mfi_slot *s = mfi_slot_at(self, slot);
  if (s->pid == 0)
    return; // gone, or not there yet: it looks at `stop` when it begins
  if (backend == MFI_BACKEND_PROCESS)
    mfi_os_kill((pid_t)s->pid, signal_number == MFI_END_TASK ? SIGKILL : signal_number);
  else if (s->pid == (uint32_t)mfi_os_pid())
    mfi_runtime_of(self)->up->poke(self, slot);
}

void mfi_slot_stop(mfi_self *self, uint64_t id, uint32_t backend, mfi_status why, mfi_ref job,
                   int signal_number) {
  uint32_t slot = (uint32_t)id;
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_lock_take(self, &s->lock);
  if (mfi_slot_is(self, id)) {
    uint32_t reason = (uint32_t)why | (signal_number == SIGKILL ? MFI_STOP_NO_LUA : 0);
    store_release(&s->stop_job, job);
    store_seqcst(&s->stop, reason);
    mfi_note(self, slot, MFI_NOTE_STOP);
    signal_slot(self, slot, backend, signal_number);
  }
  mfi_lock_give(self, &s->lock);
}

mfi_status mfi_worker_stop(mfi_self *self, mfi_object *o, int signal_number) {
  mfi_worker *w = mfi_worker_of(o);
  mfi_lock_take(self, &o->lock);
  uint32_t state = w->state;
  uint64_t slot = w->slot;
  if (state != MFI_WORKER_ENDED && state != MFI_WORKER_NEW && w->stop != SIGKILL) {
    mfi_change32(self, &o->lock, &w->stop, (uint32_t)signal_number);
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  if (state == MFI_WORKER_ENDED || state == MFI_WORKER_NEW)
    return MFI_INVALID;
  mfi_slot_stop(self, slot, w->backend, MFI_TERMINATED, 0, signal_number);
  if (signal_number == SIGKILL && w->backend == MFI_BACKEND_THREAD)
    mfi_watch_start(self, o);
  return MFI_OK;
}

// ---- Results

mfi_status mfi_worker_set_result(mfi_self *self, mfi_object *o, mfi_status status,
                                 const mfi_source *result) {
  mfi_worker *w = mfi_worker_of(o);
  mfi_ref block = 0;
  if (result != NULL) {
    mfi_status st = mfi_message_make(self, result, &block);
    if (st != MFI_OK)
      return st;
    mfi_hand_raise(self, block);
    mfi_slot_count(self->slot, MFI_STAT_MESSAGES, 1);
    mfi_slot_count(self->slot, MFI_STAT_BYTES, result->size);
  }
  mfi_lock_take(self, &o->lock);
  mfi_assert(w->result == 0);
  mfi_change32(self, &o->lock, &w->status, status);
  if (block != 0) {
    mfi_change64(self, &o->lock, &w->result, block);
    mfi_hand_out(self, &o->lock, block);
  }
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  return MFI_OK;
}

// ---- Going over all

static mfi_object *worker_at(mfi_self *self, mfi_handle h) {
  mfi_object *o = h == 0 ? NULL : mfi_object_of(self, h);
  return o != NULL && load_acquire(&o->kind) == MFI_KIND_WORKER ? o : NULL;
}

mfi_object *mfi_worker_in(mfi_self *self, uint32_t slot) {
  return worker_at(self, load_acquire(&mfi_slot_at(self, slot)->worker));
}

// The worker is read before its parent: whoever gets a slot that ends meanwhile is no child of
// `parent`, which starts none now.
void mfi_worker_each(mfi_self *self, uint64_t parent,
                     void (*fn)(mfi_self *, mfi_handle, mfi_object *, void *), void *ctx) {
  uint64_t top = load_acquire(&self->region->slots_top);
  if (load_acquire(&mfi_slot_at(self, (uint32_t)parent)->is_parent) == 0)
    return; // so that the end of many is not the square of their number
  for (uint32_t i = 1; i < top; i++) {
    mfi_slot *s = mfi_slot_at(self, i);
    mfi_handle h = load_acquire(&s->worker);
    mfi_object *o = load_acquire(&s->parent) == parent ? worker_at(self, h) : NULL;
    if (o != NULL)
      fn(self, h, o, ctx);
  }
}

// ---- Kind

static void end_block(mfi_self *self, mfi_ref *word) {
  mfi_ref block = mfi_hand_pull(self, word);
  if (block != 0)
    mfi_message_free(self, block);
}

void mfi_worker_drop_payload(mfi_self *self, mfi_object *o) {
  end_block(self, &mfi_worker_of(o)->spec);
}

static void destroy(mfi_self *self, void *body) {
  mfi_worker *w = body;
  end_block(self, &w->spec);
  end_block(self, &w->result);
  if (w->pool != 0)
    mfi_handle_unhold(self, &w->pool);
}

const mfi_object_ops mfi_worker_ops = {"Process", destroy, NULL, NULL};
