// Futures of C hosts. Floor 6.
//
// A future is a reference to its job. One that could not be submitted has its outcome here. What it
// hands out is read at the first question and kept until its release; several threads may ask.
#ifndef MFI_API_FUTURE_H
#define MFI_API_FUTURE_H

#include "api/runtime.h"
#include "script/value.h"

struct mf_future {
  mf_runtime *rt;
  mfi_handle handle; // of its job; 0: it was not submitted
  uint32_t place;    // in home's table
  mfi_ref job;
  mfi_object *core;
  mf_status status;   // not submitted: its outcome
  mfi_values *values; // set once; atomic
  char *error;        // set once; atomic
};

// What an ended job holds for it.
typedef struct mfi_outcome {
  mf_status status;
  bool has_view; // result, error or death
  mfi_view view;
} mfi_outcome;

// False: it has not ended.
bool mfi_future_outcome(mf_future *f, mfi_outcome *out);

// The text of a failure, in memory of malloc's; NULL without memory.
char *mfi_future_text(mf_future *f, const mfi_outcome *o);

#endif
