// The calling thread: its slot, its latest error, its waits. Floor 6.
//
// A native thread gets a slot with its first call and gives it back at its end; it holds nothing
// there between calls. A worker's thread calls in the worker's own slot, so that a stop ends its
// waits, too.
#ifndef MFI_API_CALLER_H
#define MFI_API_CALLER_H

#include "api/runtime.h"

#define MFI_ERROR_SIZE 1024

typedef struct mfi_caller {
  mf_runtime *rt;
  struct mfi_caller *next; // in rt->callers
  struct mfi_caller *next_living;
  pthread_t thread;
  mfi_self own;    // its slot; slot NULL: a worker's thread
  uint32_t inside; // atomic: in a call that waits
  char error[MFI_ERROR_SIZE];
} mfi_caller;

// NULL: no memory, no slot.
mfi_caller *mfi_caller_of(mf_runtime *rt);
mfi_self *mfi_caller_self(mfi_caller *c);

// Sets the calling thread's error and returns status.
__attribute__((format(printf, 3, 4))) mf_status mfi_fail(mf_runtime *rt, mf_status status,
                                                         const char *format, ...);
// The same with the text that belongs to the status.
mf_status mfi_fail_as(mf_runtime *rt, mfi_status status, const char *what);

// The same with its name alone, without a format's cost: for what is met often.
mf_status mfi_fail_shortly(mf_runtime *rt, mf_status status);

// Calls wait(self, what, until) until it gives something else than MFI_INTERRUPTED, or the runtime
// is closed or interrupted, or the worker that calls is to stop.
typedef mfi_status mfi_waiter(mfi_self *self, void *what, mfi_ns until);
mfi_status mfi_caller_wait(mf_runtime *rt, mfi_waiter *wait, void *what, double timeout);

// Has every call that waits look up.
void mfi_callers_note(mf_runtime *rt);
// For mf_close: waits until no call waits any more; later, when no worker is left, ends the
// callers.
void mfi_callers_wait(mf_runtime *rt);
void mfi_callers_end(mf_runtime *rt);
void mfi_caller_destroy(void *caller); // a thread's end

// This thread is a worker's, from its beginning to its end.
void mfi_caller_is_worker(mfi_self *self);
void mfi_caller_was_worker(mf_runtime *rt);

#endif
