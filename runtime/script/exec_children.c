// The children of a worker, or of a script, that ends. Floor 5; see exec.h. Sleeps: waits for them.
#include "base/atomic.h"
#include "script/exec_job.h"

#include <signal.h>

typedef struct family {
  bool wait;        // for ever, for those that are not daemons
  bool daemons;     // in this round
  bool interrupted; // by Ctrl-C, or a stop of one's own
} family;

static void stop_child(mfi_self *self, mfi_handle h, mfi_object *o, void *ctx) {
  family *f = ctx;
  mfi_worker *w = mfi_worker_of(o);
  uint32_t place;
  mfi_status held = mfi_handle_add(self, h, &place);
  if (held == MFI_CLOSED)
    return; // it has ended
  if (w->pool == 0 && (!f->wait || w->daemon))
    mfi_worker_stop(self, o, SIGTERM);
  if (held == MFI_OK)
    mfi_handle_drop(self, place);
}

// Callbacks that are due do not count.
static void join(mfi_self *self, mfi_object *o, family *f) {
  mfi_ns until = f->wait ? MFI_NEVER : mfi_os_deadline(2);
  mfi_status st;
  do {
    mfi_note_clear(self, MFI_NOTE_DUE);
    st = mfi_worker_join(self, o, until);
    uint32_t notes = load_acquire(&self->slot->notes);
    if ((notes & (MFI_NOTE_STOP | MFI_NOTE_INTERRUPT)) == 0)
      continue;
    f->interrupted = true;
    f->wait = false;
    return;
  } while (st == MFI_INTERRUPTED);
}

static void join_child(mfi_self *self, mfi_handle h, mfi_object *o, void *ctx) {
  family *f = ctx;
  uint32_t place;
  if (f->interrupted && f->wait == false && !f->daemons)
    return;
  if (mfi_handle_add(self, h, &place) != MFI_OK)
    return;
  if (mfi_worker_of(o)->pool == 0 && (mfi_worker_of(o)->daemon != 0) == f->daemons)
    join(self, o, f);
  mfi_handle_drop(self, place);
}

bool mfi_exec_end_children(mfi_self *self, bool wait) {
  uint64_t me = mfi_slot_id(self, self->index);
  family f = {.wait = wait};
  if (!wait)
    mfi_worker_each(self, me, stop_child, &f);
  mfi_worker_each(self, me, join_child, &f);
  mfi_note_clear(self, MFI_NOTE_STOP | MFI_NOTE_INTERRUPT);
  bool interrupted = f.interrupted;
  mfi_worker_each(self, me, stop_child, &f); // all of them after an interrupt, else the daemons
  f = (family){.daemons = true};
  mfi_worker_each(self, me, join_child, &f);
  if (interrupted) {
    f = (family){.wait = false};
    mfi_worker_each(self, me, join_child, &f);
  }
  return interrupted;
}
