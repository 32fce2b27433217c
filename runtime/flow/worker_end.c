// How a worker ends, in whatever way. Floor 4; see worker.h. Locks: the object's, the slot's.
//
//   settle → children → job → abandon, handles, hand → object ENDED → pool → release the slot
//
// Called by the warden for processes, by a thread as its last act. Every step may be repeated.
#include "base/assert.h"
#include "base/atomic.h"
#include "flow/bury.h"
#include "flow/pool.h"
#include "flow/runtime.h"
#include "flow/stream.h"
#include "flow/text.h"

#include <signal.h>
#include <string.h>

// From here on no signal is sent to it.
static void close_slot(mfi_self *self, mfi_slot *s) {
  mfi_lock_take(self, &s->lock);
  store_release(&s->tid, 0u);
  store_release(&s->pid, 0u);
  mfi_lock_give(self, &s->lock);
}

static void stop_child(mfi_self *self, mfi_handle h, mfi_object *o, void *ctx) {
  uint32_t place;
  MFI_UNUSED(ctx);
  mfi_status held = mfi_handle_add(self, h, &place);
  if (held == MFI_CLOSED)
    return; // it has ended
  // A pool's workers are the pool's, whoever started them. The children of a process that died get
  // a moment to see that it is gone: the warden's affair.
  if (mfi_worker_of(o)->pool == 0 && !mfi_runtime_of(self)->is_warden)
    mfi_worker_stop(self, o, SIGTERM);
  if (held == MFI_OK)
    mfi_handle_drop(self, place);
}

static mfi_death death_of(mfi_self *self, uint32_t slot, const mfi_worker *w, int exitcode) {
  mfi_death d = {.exitcode = exitcode, .pid = w != NULL ? w->pid : 0};
  memcpy(d.worker, mfi_slot_at(self, slot)->name, sizeof d.worker);
  return d;
}

static void mark_ended(mfi_self *self, mfi_object *o, int exitcode) {
  mfi_worker *w = mfi_worker_of(o);
  mfi_lock_take(self, &o->lock);
  if (w->state != MFI_WORKER_ENDED) {
    uint32_t status = w->status;
    bool told = w->result != 0 || status != MFI_OK;
    if (!told && exitcode != 0)
      status = w->stop != 0 ? MFI_TERMINATED : MFI_WORKER_DIED;
    mfi_event_will_wake(self, &w->changed);
    mfi_change32(self, &o->lock, &w->status, status);
    mfi_change32(self, &o->lock, (uint32_t *)&w->exitcode, (uint32_t)exitcode);
    mfi_change32(self, &o->lock, &w->state, MFI_WORKER_ENDED); // the last: who reads it reads all
    mfi_lock_commit(self, &o->lock);
  }
  mfi_lock_give(self, &o->lock);
  mfi_event_wake_all(self, &w->changed);
}

// A worker that was taken a slot for, and whose starter died before it could be started.
static void end_unborn(mfi_self *self, mfi_slot *dead) {
  uint32_t slot = dead->starting;
  if (slot == 0)
    return;
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_handle h = s->worker;
  mfi_object *o = h == 0 ? NULL : mfi_object_of(self, h);
  if (o != NULL && mfi_worker_of(o)->state == MFI_WORKER_NEW)
    mark_ended(self, o, -SIGKILL);
  if (h != 0)
    mfi_handle_unhold(self, &s->worker);
  mfi_slot_release(self, slot);
  dead->starting = 0;
}

// A death that nobody asked for is a warning, other ends are news.
static void tell(mfi_self *self, const mfi_worker *w, const mfi_death *d, bool unexpected) {
  char how[MFI_DEATH_TEXT];
  const char *then = "";
  if (w == NULL)
    return;
  const mfi_core *c = w->pool == 0 ? NULL : mfi_core_of(mfi_object_of(self, w->pool));
  if (c != NULL && load_acquire(&c->state) == MFI_POOL_OPEN)
    then = "; another one takes its place";
  if (unexpected)
    mfi_runtime_logf(self, MFI_LOG_WARNING, "%s (pid %u) %s%s", d->worker, d->pid,
                     mfi_death_text(d, how), then);
  else
    mfi_runtime_logf(self, MFI_LOG_INFO, "%s (pid %u) has ended", d->worker, d->pid);
}

void mfi_worker_leave(mfi_self *self, uint32_t slot, int exitcode) {
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_object *o = mfi_object_of(self, s->worker);
  mfi_handle core = mfi_worker_of(o)->pool;
  mfi_death death = death_of(self, slot, mfi_worker_of(o), exitcode);
  close_slot(self, s);
  mfi_worker_each(self, mfi_slot_id(self, slot), stop_child, NULL);
  if (core != 0)
    mfi_pool_worker_left(self, mfi_object_of(self, core), slot, &death, false);
  mfi_pool_bury_job(self, slot, &death);
  if (core != 0)
    mfi_pool_heal(self, mfi_object_of(self, core));
  tell(self, mfi_worker_of(o), &death, false);
  mark_ended(self, o, exitcode);
  mfi_handle_unhold(self, &s->worker); // from here on its thread goes on by itself
  mfi_event_wake_all(self, mfi_event_of(self, mfi_slot_id(self, slot)));
}

// began: it has run; else it could not be started, and trying again at once would be no better.
static void end(mfi_self *self, uint32_t slot, int exitcode, bool began) {
  mfi_slot *s = mfi_slot_at(self, slot);
  mfi_handle h = s->worker;
  mfi_object *o = h == 0 ? NULL : mfi_object_of(self, h);
  mfi_worker *w = o == NULL ? NULL : mfi_worker_of(o);
  close_slot(self, s);
  mfi_slot_settle(self, slot);
  mfi_stream_bury(self, slot);
  mfi_worker_each(self, mfi_slot_id(self, slot), stop_child, NULL);
  end_unborn(self, s);
  mfi_death death = death_of(self, slot, w, exitcode);
  bool asked = load_acquire(&s->stop) != 0 || mfi_death_by_deadline(s, exitcode);
  bool unexpected = began && !asked && (exitcode != 0 || s->job != 0);
  mfi_pool_bury_due(self, s);
  mfi_handle core = w == NULL ? 0 : w->pool;
  if (core != 0)
    mfi_pool_worker_left(self, mfi_object_of(self, core), slot, &death, unexpected);
  mfi_pool_bury_job(self, slot, &death); // after the death was counted: who learns of it looks
  if (core != 0 && began)                // with the own table, where it is a thread's end
    mfi_pool_heal(self, mfi_object_of(self, core));
  else if (core != 0)
    mfi_pool_lacks(self, mfi_object_of(self, core), exitcode);
  if (began)
    tell(self, w, &death, unexpected);
  else
    mfi_runtime_logf(self, MFI_LOG_WARNING, "%s cannot be started: %s", death.worker,
                     strerror(exitcode));
  mfi_handles_bury(self, slot);
  mfi_heap_bury(self, slot);
  if (o != NULL) {
    mfi_worker_drop_payload(self, o);
    mark_ended(self, o, exitcode);
  }
  if (h != 0)
    mfi_handle_unhold(self, &s->worker);
  uint64_t id = mfi_slot_id(self, slot);
  mfi_slot_release(self, slot);
  mfi_event_wake_all(self, mfi_event_of(self, id)); // for its children: parent_process():join()
}

void mfi_worker_end(mfi_self *self, uint32_t slot, int exitcode) {
  end(self, slot, exitcode, true);
}

void mfi_worker_failed(mfi_self *self, uint32_t slot, int error) {
  mfi_object *o = mfi_object_of(self, mfi_slot_at(self, slot)->worker);
  mfi_lock_take(self, &o->lock);
  mfi_change32(self, &o->lock, &mfi_worker_of(o)->status, MFI_SYSTEM);
  mfi_lock_commit(self, &o->lock);
  mfi_lock_give(self, &o->lock);
  end(self, slot, error, false);
}
