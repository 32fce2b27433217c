// Futures of C hosts. Floor 6.
//
// A future is a reference to its job. One that could not be submitted has its outcome here. What it
// hands out is read at the first question and kept until its release; several threads may ask.
#ifndef MFI_API_FUTURE_H
#define MFI_API_FUTURE_H

#include "api/runtime.h"
#include "script/value.h"

enum { MFI_WATCH_NONE, MFI_WATCH_WANTED, MFI_WATCH_TOLD, MFI_WATCH_POLLED, MFI_WATCH_OVER };

struct mf_future {
  mf_runtime *rt;
  mfi_handle handle; // of its job; 0: it was not submitted
  uint32_t place;    // in home's table
  mfi_ref job;
  mfi_object *core;
  mf_status status;   // not submitted: its outcome
  mfi_values *values; // set once; atomic
  char *error;        // set once; atomic
  uint32_t asked;     // somebody has seen its outcome; atomic
  // Under the runtime's mutex:
  uint32_t users;          // its handle, its watch, its callbacks
  uint32_t watch;          // MFI_WATCH_*
  bool report;             // its failure reaches on_error, if nobody asks
  bool in_callback;        // one runs, with what it has read
  bool released;           // it has no handle any more
  int fd;                  // -1: none
  mfi_due *callbacks;      // to be run when it has ended
  mf_future *prev, *next;  // in rt->futures
  mf_future *next_wanted;  // in rt->wanted
  mf_future *next_watched; // in rt->watched
};

// What an ended job holds for it.
typedef struct mfi_outcome {
  mf_status status;
  bool has_view; // result, error or death
  mfi_view view;
} mfi_outcome;

// False: it has not ended.
bool mfi_future_outcome(mf_future *f, mfi_outcome *out);

static inline bool mfi_future_is_failure(mf_status s) {
  return s != MF_OK && s != MF_CANCELLED && s != MF_TERMINATED;
}
// Somebody learns of its outcome.
void mfi_future_ask(mf_future *f);
// A user less. Under the mutex; the last one frees it, but leaves its use of the runtime.
void mfi_future_unuse(mf_future *f);

// What was read of a future without a handle, while no callback runs: to be freed without the
// mutex; a callback that comes later reads it anew. NULL: nothing. Under the mutex.
mfi_values *mfi_future_leftover(mf_future *f);

// The text of a failure, in memory of malloc's; NULL without memory.
char *mfi_future_text(mf_future *f, const mfi_outcome *o);

#endif
