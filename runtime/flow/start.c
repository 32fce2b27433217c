// Starting workers. Floor 4; see start.h and worker.h. Locks: the worker object's.
#include "flow/start.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/runtime.h"
#include "flow/spec.h"
#include "flow/warden.h"
#include "flow/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

// ---- Threads

typedef struct entry {
  mfi_runtime *rt;
  uint32_t slot;
} entry;

int mfi_worker_run(mfi_self *self) {
  mfi_object *o = mfi_object_of(self, self->slot->worker);
  uint32_t pid = (uint32_t)mfi_os_pid();
  mfi_worker_begun(self, o, pid, (uint32_t)mfi_os_tid());
  mfi_runtime_logf(self, MFI_LOG_INFO, "%s (pid %u) has started", self->slot->name, pid);
  return mfi_runtime_of(self)->up->run(self, o);
}

static void *thread_main(void *arg) {
  entry e = *(entry *)arg;
  free(arg);
  mfi_self self = mfi_self_make(e.rt, e.slot);
  self.sleeps = 1;
  store_release(&self.slot->claim, mfi_slot_id(&self, e.slot));
  int code = mfi_worker_run(&self);
  mfi_watch_claim_own(&self);
  mfi_worker_end(&self, e.slot, code);
  fetch_add_seqcst(&e.rt->threads, ~0u);
  return NULL;
}

static mfi_status start_thread(mfi_self *self, uint32_t slot) {
  mfi_runtime *rt = mfi_runtime_of(self);
  entry *e = malloc(sizeof *e);
  if (e == NULL)
    return MFI_NOMEM;
  *e = (entry){.rt = rt, .slot = slot};
  fetch_add_seqcst(&rt->threads, 1u);
  mfi_status st = mfi_os_thread_start(thread_main, e, 0);
  if (st == MFI_OK)
    return MFI_OK;
  fetch_add_seqcst(&rt->threads, ~0u);
  free(e);
  return st;
}

// ---- Both

void mfi_worker_begun(mfi_self *self, mfi_object *o, uint32_t pid, uint32_t tid) {
  mfi_worker *w = mfi_worker_of(o);
  mfi_slot *s = mfi_slot_at(self, (uint32_t)w->slot);
  mfi_lock_take(self, &s->lock);
  store_release(&s->tid, tid);
  s->process = pid;
  store_release(&s->pid, pid);
  mfi_lock_give(self, &s->lock);
  mfi_lock_take(self, &o->lock);
  bool news = w->state == MFI_WORKER_STARTING; // a process and its warden both come here
  if (news) {
    mfi_event_will_wake(self, &w->changed);
    mfi_change32(self, &o->lock, &w->state, MFI_WORKER_RUNNING);
    mfi_change32(self, &o->lock, &w->pid, pid);
    mfi_change32(self, &o->lock, &w->tid, tid);
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  if (news)
    mfi_event_wake_all(self, &w->changed);
}

// A slot that names its worker and knows whose child it is.
static mfi_status take_slot(mfi_self *self, mfi_object *o, mfi_handle h, uint32_t *slot) {
  *slot = mfi_slot_take(self);
  if (*slot == 0)
    return MFI_NOMEM;
  mfi_slot *s = mfi_slot_at(self, *slot);
  memcpy(s->name, mfi_worker_of(o)->name, sizeof s->name);
  store_release(&self->slot->is_parent, 1u);
  store_release(&s->parent, mfi_slot_id(self, self->index));
  mfi_status st = mfi_handle_hold(self, h, &s->worker);
  if (st == MFI_OK)
    return MFI_OK;
  mfi_slot_release(self, *slot);
  self->slot->starting = 0;
  return st;
}

static void mark_starting(mfi_self *self, mfi_object *o, uint32_t slot, mfi_ref spec) {
  mfi_worker *w = mfi_worker_of(o);
  if (spec != 0)
    mfi_hand_raise(self, spec);
  mfi_lock_take(self, &o->lock);
  bool thread = w->backend == MFI_BACKEND_THREAD; // its process is known
  mfi_change32(self, &o->lock, &w->state, thread ? MFI_WORKER_RUNNING : MFI_WORKER_STARTING);
  if (thread)
    mfi_change32(self, &o->lock, &w->pid, (uint32_t)mfi_os_pid());
  mfi_change64(self, &o->lock, &w->slot, mfi_slot_id(self, slot));
  mfi_change32(self, &o->lock, &self->slot->starting, 0);
  if (spec != 0) {
    mfi_change64(self, &o->lock, &w->spec, spec);
    mfi_hand_out(self, &o->lock, spec);
  }
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
}

static bool has_begun(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  uint32_t state = load_seqcst(&((mfi_worker *)what)->state);
  return state == MFI_WORKER_RUNNING || state == MFI_WORKER_ENDED;
}

// A target's own worker has its process id when start returns.
static mfi_status wait_until_begun(mfi_self *self, mfi_handle h, mfi_worker *w) {
  mfi_event_say(self, MFI_HOW_START, h);
  mfi_event_no_look(self);
  while (mfi_event_await(self, &w->changed, has_begun, w, MFI_NEVER) == MFI_INTERRUPTED)
    mfi_os_sleep_until(mfi_os_now() + 100000); // a note waits; a fork takes a moment
  mfi_event_done(self);
  if (load_acquire(&w->state) != MFI_WORKER_ENDED || w->status != MFI_SYSTEM)
    return MFI_OK;
  errno = w->exitcode;
  return MFI_SYSTEM;
}

static mfi_status dispatch(mfi_self *self, mfi_worker *w, uint32_t slot) {
  if (w->backend == MFI_BACKEND_THREAD)
    return start_thread(self, slot);
  return mfi_warden_start(self, slot);
}

mfi_status mfi_worker_start(mfi_self *self, mfi_handle h, const mfi_source *payload) {
  mfi_object *o = mfi_object_of(self, h);
  mfi_worker *w = mfi_worker_of(o);
  mfi_ref spec = 0;
  uint32_t slot = 0;
  if (w->state != MFI_WORKER_NEW)
    return MFI_INVALID;
  mfi_status st = payload == NULL ? MFI_OK : mfi_spec_make(self, payload, w->backend, &spec);
  if (st == MFI_OK)
    st = take_slot(self, o, h, &slot);
  if (st != MFI_OK) {
    if (spec != 0)
      mfi_message_free(self, spec);
    return st;
  }
  mark_starting(self, o, slot, spec);
  if (payload != NULL) {
    mfi_slot_count(self->slot, MFI_STAT_MESSAGES, 1);
    mfi_slot_count(self->slot, MFI_STAT_BYTES, payload->size);
  }
  st = dispatch(self, w, slot);
  if (st != MFI_OK) {
    int error = errno;
    mfi_worker_failed(self, slot, error);
    errno = error;
    return st;
  }
  bool known = w->pool != 0 || w->backend == MFI_BACKEND_THREAD;
  return known ? MFI_OK : wait_until_begun(self, h, w);
}
