// Watches over killed threads. Floor 4; see watch.h. Sleeps on the worker's event, and on its id's.
#include "flow/watch.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "flow/bury.h"

#include <signal.h>
#include <stdlib.h>

typedef struct watch {
  mfi_runtime *rt;
  uint32_t slot; // its own
  uint64_t id;   // of the worker's slot
  mfi_handle worker;
} watch;

// ---- Who ends it

static bool claim(mfi_self *self, uint64_t id) {
  uint64_t expected = id;
  return cas_seqcst(&mfi_slot_at(self, (uint32_t)id)->claim, &expected, (uint64_t)0);
}

static bool is_left(mfi_self *self, void *what) {
  MFI_UNUSED(what);
  return load_seqcst(&self->slot->worker) == 0;
}

void mfi_watch_claim_own(mfi_self *self) {
  uint64_t id = mfi_slot_id(self, self->index);
  if (claim(self, id))
    return;
  mfi_event *e = mfi_event_of(self, id);
  while (mfi_event_await(self, e, is_left, NULL, MFI_NEVER) == MFI_INTERRUPTED)
    mfi_note_clear(self, MFI_NOTE_STOP | MFI_NOTE_INTERRUPT | MFI_NOTE_DUE);
  mfi_event_done(self);
}

void mfi_watch_closing(mfi_self *self, mfi_object *worker) {
  mfi_worker *w = mfi_worker_of(worker);
  store_seqcst(&w->closing, 1u);
  mfi_event_wake_all(self, &w->changed);
}

// ---- The watch

static bool has_ended(mfi_self *self, void *what) {
  MFI_UNUSED(self);
  return load_seqcst(&((mfi_worker *)what)->state) == MFI_WORKER_ENDED;
}

static bool is_closing(mfi_self *self, void *what) {
  return load_seqcst(&((mfi_worker *)what)->closing) != 0 || has_ended(self, what);
}

static void look_on(mfi_self *self, mfi_worker *w, uint64_t id) {
  mfi_event_await(self, &w->changed, is_closing, w, MFI_NEVER);
  mfi_ns until = mfi_os_now() + MFI_FINALIZER_NS;
  mfi_status st = mfi_event_await(self, &w->changed, has_ended, w, until);
  mfi_event_done(self);
  if (st == MFI_TIMEDOUT && claim(self, id))
    mfi_worker_leave(self, (uint32_t)id, -SIGKILL);
}

static void *watch_main(void *arg) {
  watch a = *(watch *)arg;
  free(arg);
  mfi_self self = mfi_self_make(a.rt, a.slot);
  self.no_spin = UINT32_MAX;
  uint32_t place;
  if (mfi_handle_add(&self, a.worker, &place) == MFI_OK) {
    look_on(&self, mfi_worker_of(mfi_object_of(&self, a.worker)), a.id);
    mfi_handle_drop(&self, place);
  }
  mfi_slot_bury(&self, a.slot);
  fetch_add_seqcst(&a.rt->threads, ~0u);
  return NULL;
}

static bool start(mfi_self *self, mfi_object *worker) {
  mfi_runtime *rt = mfi_runtime_of(self);
  watch *a = malloc(sizeof *a);
  uint32_t slot = a == NULL ? 0 : mfi_slot_take(self);
  self->slot->starting = 0;
  if (slot != 0) {
    *a = (watch){.rt = rt,
                 .slot = slot,
                 .id = mfi_worker_of(worker)->slot,
                 .worker = mfi_object_handle(self, worker)};
    fetch_add_seqcst(&rt->threads, 1u);
    if (mfi_os_thread_start(watch_main, a, 65536 * 4) == MFI_OK)
      return true;
    fetch_add_seqcst(&rt->threads, ~0u);
    mfi_slot_release(self, slot);
  }
  free(a);
  return false;
}

void mfi_watch_start(mfi_self *self, mfi_object *worker) {
  mfi_worker *w = mfi_worker_of(worker);
  uint32_t none = 0;
  if (load_acquire(&w->pid) != (uint32_t)mfi_os_pid() || !cas_seqcst(&w->watched, &none, 1u))
    return;
  if (!start(self, worker))
    store_release(&w->watched, 0u);
}
