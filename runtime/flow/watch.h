// Watches over killed threads. Floor 4.
//
// Nothing stops a finalizer that does not return: its Lua state can never be closed. Kill must end
// the worker all the same, so the first kill of a thread starts a watch, a quiet thread of the same
// process:
//
//   watch: sleep until the state is being closed → 1 s → claim → mfi_worker_leave
//   worker's thread: close the state → claim → mfi_worker_end
//
// Whoever claims first ends the worker for all others. A thread that comes second waits until the
// watch is through, and then gives back what is left: its handles, its hand, its slot.
#ifndef MFI_FLOW_WATCH_H
#define MFI_FLOW_WATCH_H

#include "flow/runtime.h"

#define MFI_FINALIZER_NS MFI_SECOND

// Starts the watch over a thread of this process, if it has none. Where no thread is to be had it
// is not watched.
void mfi_watch_start(mfi_self *self, mfi_object *worker);

// Inside the worker, before its state is closed: from here on only finalizers run.
void mfi_watch_closing(mfi_self *self, mfi_object *worker);

// A worker's thread, before it ends itself.
void mfi_watch_claim_own(mfi_self *self);

#endif
