// Waiting for the first of several things. Floor 4.
//
// A watch is what there is to wait for behind a handle: lights and selects share it. It takes
// nothing; who finds it ready tries to take, and comes back if somebody was faster.
#ifndef MFI_FLOW_SELECT_H
#define MFI_FLOW_SELECT_H

#include "sync/gates.h"

// Good as long as the caller holds a reference to the handle; not to be copied.
typedef struct mfi_watch {
  mfi_event *event;       // woken when it becomes ready
  mfi_ready_fn *is_ready; // of `what`
  void *what;
  bool once;           // what was ready stays so
  mfi_flag_watch flag; // of an Event
} mfi_watch;

// QUEUE, CONNECTION: a get would not wait. WORKER, job: it has ended. BATCH: a
// job of it can be taken, or it is over. EVENT: it is set, or has been since this call. False:
// there is nothing to wait for.
bool mfi_watch_of(mfi_self *self, mfi_handle h, mfi_watch *out);

typedef struct mfi_selection {
  mfi_watch *watch;  // n of them
  mfi_event **event; // n: room for the events of these
  uint32_t n;
  uint32_t from; // place of the first to be looked at, another each time: no one starves
} mfi_selection;

// Fills s->event and s->from; s->watch and s->n are set.
void mfi_selection_open(mfi_self *self, mfi_selection *s);
// The place of one that is ready; n: none is.
uint32_t mfi_selection_find(mfi_self *self, const mfi_selection *s);
// Waits until one is ready. MFI_OK, MFI_TIMEDOUT, MFI_INTERRUPTED.
mfi_status mfi_selection_wait(mfi_self *self, mfi_selection *s, mfi_ns until);

#endif
