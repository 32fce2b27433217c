// What is due to the host, and who looks for it. Floor 6.
//
//   a task ends --> the beacon is noted --> its future is due: descriptors, waits, the list --> run
//   a worker prints, the runtime notes --> reports (report.h) --> the beacon lights mf_fd --> run
//
// All lists are guarded by the runtime's mutex; callbacks run without it.
#ifndef MFI_API_DISPATCH_H
#define MFI_API_DISPATCH_H

#include "api/future.h"

// The runtime's part, in mf_runtime.
bool mfi_dispatch_open(mf_runtime *rt, const mf_config *c);
// For mf_close, in this order: nothing new becomes due; all that is due is run.
void mfi_dispatch_stop(mf_runtime *rt);
void mfi_dispatch_close(mf_runtime *rt);

// Has the beacon watch for the future's end, which it keeps alive until then. Under the mutex.
void mfi_dispatch_watch(mf_future *f);
// Are failures told of that nobody has asked for?
static inline bool mfi_dispatch_hears_errors(const mf_runtime *rt) {
  return rt->on_error != NULL || rt->on_log != NULL;
}
// A failure that nobody has asked for. Under the mutex; takes over text.
void mfi_dispatch_error(mf_runtime *rt, mf_status status, char *text);

#endif
