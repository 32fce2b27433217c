// Starting workers: threads here, processes by a request to the warden. Floor 4. Only this file,
// the warden and bury.c know them apart.
#ifndef MFI_FLOW_START_H
#define MFI_FLOW_START_H

#include "flow/worker.h"

// What goes to the warden; descriptors 1 and 2 come along where they lead elsewhere than its own.
typedef struct mfi_request {
  uint64_t slot; // id
  uint32_t fds;  // bit 0: stdout, bit 1: stderr
  uint32_t pad;
} mfi_request;

// Runs the worker of this slot on the calling thread, from RUNNING to its exit code.
int mfi_worker_run(mfi_self *self);
// It has a thread: pid and tid are known, who waits for that is woken.
void mfi_worker_begun(mfi_self *self, mfi_object *o, uint32_t pid, uint32_t tid);

#endif
